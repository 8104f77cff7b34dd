/* The least work that a client can do: receive, and decode base64 as it arrives. No HTTP library,
   no JSON, no checks, no Python. `floor PORT REQUEST-FILE ROWS WIDTH` reads commands from standard
   input: "run K" sends the request K times and prints CPU seconds, wall seconds and page faults; "write
   FILE" writes the matrix.

   The AVX2 decoder is Wojciech Muła's (http://0x80.pl/articles/base64-simd-neon.html), as in
   libbase64; without AVX2, a table decodes. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

static uint8_t table[256];

static void decode(const uint8_t *in, size_t length, uint8_t *out) {
#ifdef __AVX2__
  const __m256i low = _mm256_setr_epi8(
      0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1A, 0x1B, 0x1B, 0x1B, 0x1A,
      0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1A, 0x1B, 0x1B, 0x1B, 0x1A);
  const __m256i high = _mm256_setr_epi8(
      0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10,
      0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10);
  const __m256i roll = _mm256_setr_epi8(
      0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0);
  const __m256i slash = _mm256_set1_epi8(0x2F);
  const __m256i pack = _mm256_setr_epi8(
      2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1,
      2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1);
  while (length >= 44) { /* writes 32 bytes, of which 24 count */
    __m256i text = _mm256_loadu_si256((const __m256i *)in);
    __m256i nibbles = _mm256_and_si256(_mm256_srli_epi32(text, 4), slash);
    __m256i wrong = _mm256_and_si256(_mm256_shuffle_epi8(low, _mm256_and_si256(text, slash)),
                                     _mm256_shuffle_epi8(high, nibbles));
    if (!_mm256_testz_si256(wrong, wrong)) exit(3);
    __m256i rolled = _mm256_shuffle_epi8(roll, _mm256_add_epi8(_mm256_cmpeq_epi8(text, slash), nibbles));
    __m256i merged = _mm256_maddubs_epi16(_mm256_add_epi8(text, rolled), _mm256_set1_epi32(0x01400140));
    merged = _mm256_shuffle_epi8(_mm256_madd_epi16(merged, _mm256_set1_epi32(0x00011000)), pack);
    merged = _mm256_permutevar8x32_epi32(merged, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, -1, -1));
    _mm256_storeu_si256((__m256i *)out, merged);
    in += 32, out += 24, length -= 32;
  }
#endif
  for (; length >= 4; in += 4, out += 3, length -= 4) {
    uint32_t bits = table[in[0]] << 18 | table[in[1]] << 12 | table[in[2]] << 6 | table[in[3]];
    out[0] = bits >> 16, out[1] = bits >> 8, out[2] = bits;
  }
}

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec / 1e6; }

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  for (int i = 0; i < 64; i++)
    table[(uint8_t) "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[i]] = i;
  long rows = atol(argv[3]), width = atol(argv[4]);
  size_t text = (width * 4 + 2) / 3 * 4, row = width * 4;
  FILE *file = fopen(argv[2], "rb");
  static char request[64 << 20];
  size_t asked = fread(request, 1, sizeof request, file);
  fclose(file);
  uint8_t *matrix = malloc(rows * row + 64);
  size_t room = (1 << 18) + 2 * text;
  char *buffer = malloc(room + 1);

  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int line = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(line, (struct sockaddr *)&address, sizeof address)) return 4;

  char command[4096];
  while (fgets(command, sizeof command, stdin)) {
    if (!strncmp(command, "write ", 6)) {
      command[strcspn(command, "\n")] = 0;
      FILE *target = fopen(command + 6, "wb");
      fwrite(matrix, row, rows, target);
      fclose(target);
      puts("ok");
      fflush(stdout);
      continue;
    }
    struct rusage before, after;
    struct timespec from, to;
    getrusage(RUSAGE_SELF, &before);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int k = atoi(command + 4); k > 0; k--) {
      for (size_t sent = 0; sent < asked;) sent += send(line, request + sent, asked - sent, 0);
      size_t have = 0, position = 0, left = 0;
      long done = 0;
      int head = 1;
      while (head || left) {
        ssize_t got = recv(line, buffer + have, room - have, 0);
        if (got <= 0) return 5;
        have += got;
        buffer[have] = 0;
        if (head) {
          char *end = memmem(buffer, have, "\r\n\r\n", 4), *length = strcasestr(buffer, "content-length:");
          if (!end) continue;
          left = atol(length + 15) + (end + 4 - buffer);
          head = 0;
        }
        left -= got;
        for (;;) { /* decode the vectors that have arrived completely */
          char *key = memmem(buffer + position, have - position, "\"embedding\":\"", 13);
          if (!key) {
            position = have > position + 12 ? have - 12 : position;
            break;
          }
          size_t start = key + 13 - buffer;
          if (start + text > have) {
            position = key - buffer;
            break;
          }
          if (done < rows) decode((uint8_t *)buffer + start, text, matrix + done++ * row);
          position = start + text;
        }
        memmove(buffer, buffer + position, have - position);
        have -= position, position = 0;
      }
      if (done != rows) return 6;
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    getrusage(RUSAGE_SELF, &after);
    printf("%.9f %.9f %ld\n",
           seconds(after.ru_utime) - seconds(before.ru_utime) + seconds(after.ru_stime) - seconds(before.ru_stime),
           to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9, after.ru_minflt - before.ru_minflt);
    fflush(stdout);
  }
  return 0;
}
