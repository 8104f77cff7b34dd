/* A server of prepared answers, so fast that it does not bound a client: one thread, epoll, and
   each answer built once, then copied. `server [PEM]` prints its port and answers until its standard
   input ends; with PEM (a key and its certificate) it serves https.

   It reads the field `input` of a request, `dimensions` (or `output_dimension`; default: 256) and
   `encoding_format`. The first number in the first input chooses the vectors, see `vectors.py`. The
   path gives the seconds to wait before an answer: http://127.0.0.1:PORT/latency/0.05/v1. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#ifdef TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#else
typedef void SSL;
#endif

enum { HEAD = 64 << 10, BODY = 64 << 20, ROWS = 4096, WIDTH = 4096, SLOTS = 8192, EVENTS = 256 };

typedef struct answer {
  struct answer *next;
  long start, rows, width;
  bool base64;
  size_t size;
  char *bytes;
} Answer;

typedef struct connection {
  int line;
  SSL *tls;
  enum { READING, WAITING, WRITING } state;
  char *request; /* with a 0 behind its last byte */
  size_t have, room;
  const Answer *answer;
  size_t sent;
  bool last;    /* close after this answer */
  bool dropped; /* to be freed after this round of events */
  struct connection *next;
} Connection;

static void *must(void *memory) {
  if (!memory) abort();
  return memory;
}

/* ---- answers ---- */

static void base64(const uint8_t *in, size_t size, FILE *out) {
  static const char letter[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t at = 0; at < size; at += 3) {
    size_t left = size - at;
    uint32_t bits = in[at] << 16 | (left > 1 ? in[at + 1] << 8 : 0) | (left > 2 ? in[at + 2] : 0);
    char text[] = {letter[bits >> 18], letter[bits >> 12 & 63], left > 1 ? letter[bits >> 6 & 63] : '=',
                   left > 2 ? letter[bits & 63] : '='};
    fwrite(text, 1, 4, out);
  }
}

/* The same arithmetic as in vectors.py, to the bit. */
static float value(uint32_t place, double scale) {
  place ^= place >> 16, place *= 0x85EBCA6B, place ^= place >> 13, place *= 0xC2B2AE35, place ^= place >> 16;
  return (float)((int32_t)place * scale);
}

static void write_body(const Answer *asked, FILE *out) {
  double scale = sqrt(3.0 / asked->width) / 2147483648.0;
  float vector[WIDTH];
  fputs("{\"object\":\"list\",\"data\":[", out);
  for (long row = 0; row < asked->rows; row++) {
    uint32_t first = (asked->start + row) % PERIOD * asked->width + 1;
    for (long i = 0; i < asked->width; i++) vector[i] = value(first + i, scale);
    fprintf(out, "%s{\"object\":\"embedding\",\"embedding\":%c", row ? "," : "", asked->base64 ? '"' : '[');
    if (asked->base64) base64((const uint8_t *)vector, asked->width * sizeof *vector, out);
    for (long i = 0; i < asked->width && !asked->base64; i++) fprintf(out, i ? ",%.17g" : "%.17g", vector[i]);
    fprintf(out, "%c,\"index\":%ld}", asked->base64 ? '"' : ']', row);
  }
  fprintf(out,
          "],\"model\":\"benchmark\",\"id\":\"gen-0\",\"provider\":\"Benchmark\",\"usage\":"
          "{\"prompt_tokens\":%ld,\"total_tokens\":%ld,\"cost\":%.9g}}",
          8 * asked->rows, 8 * asked->rows, 1e-7 * asked->rows);
}

static void finish(Answer *made, const char *status, const char *body, size_t size) {
  FILE *out = must(open_memstream(&made->bytes, &made->size));
  fprintf(out, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", status, size);
  fwrite(body, 1, size, out);
  if (fclose(out)) abort();
}

static const Answer *answer_to(const Answer *asked) {
  static Answer *table[SLOTS];
  size_t hash = (asked->start * 31 + asked->rows) * 31 + asked->width * 2 + asked->base64;
  Answer **slot = &table[hash % SLOTS];
  for (Answer *a = *slot; a; a = a->next)
    if (a->start == asked->start && a->rows == asked->rows && a->width == asked->width &&
        a->base64 == asked->base64)
      return a;
  Answer *made = must(malloc(sizeof *made));
  *made = *asked;
  char *body;
  size_t size;
  FILE *out = must(open_memstream(&body, &size));
  write_body(asked, out);
  if (fclose(out)) abort();
  finish(made, "200 OK", body, size);
  free(body);
  made->next = *slot;
  return *slot = made;
}

/* ---- JSON: each function takes a place before `end` and returns the next, or 0 if it is wrong ---- */

static const char *space(const char *p, const char *end) {
  while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) p++;
  return p < end ? p : 0;
}

static const char *string(const char *p, const char *end) { /* from its opening quote */
  for (p++; p < end; p++) {
    if (*p == '"') return p + 1;
    if (*p == '\\') p++;
  }
  return 0;
}

static const char *skip(const char *p, const char *end) { /* any value */
  long depth = 0;
  do {
    if (!(p = space(p, end))) return 0;
    if (*p == '"') {
      if (!(p = string(p, end))) return 0;
      continue;
    }
    if (*p == '[' || *p == '{') depth++;
    if (*p == ']' || *p == '}') depth--;
    p++;
  } while (p < end && (depth > 0 || !strchr(",]} \t\r\n", *p)));
  return depth ? 0 : p;
}

static const char *count(const char *p, const char *end, Answer *asked) { /* the field `input` */
  const char *first = p;
  asked->rows = 1;
  if (*p == '[') {
    asked->rows = 0;
    if (!(first = p = space(p + 1, end))) return 0;
    while (*p != ']') {
      if (!(p = skip(p, end)) || !(p = space(p, end)) || (*p != ',' && *p != ']')) return 0;
      asked->rows++;
      if (*p == ',' && !(p = space(p + 1, end))) return 0;
    }
    p++;
  } else if (!(p = skip(p, end))) {
    return 0;
  }
  if (*first == '"') {
    while (++first < p && !isdigit((unsigned char)*first) && *first != '"') continue;
    asked->start = first < p ? strtol(first, 0, 10) % PERIOD : 0;
  }
  return p;
}

static bool parse(const char *p, const char *end, Answer *asked) {
  *asked = (Answer){.width = 256};
  if (!(p = space(p, end)) || *p != '{') return false;
  do {
    const char *key = space(p + 1, end), *colon, *from;
    if (!key || *key != '"' || !(colon = string(key, end))) return false;
    size_t size = colon - key;
    if (!(colon = space(colon, end)) || *colon != ':' || !(from = space(colon + 1, end))) return false;
    if (size == 7 && !memcmp(key, "\"input\"", size)) {
      p = count(from, end, asked);
    } else {
      p = skip(from, end);
      if ((size == 12 && !memcmp(key, "\"dimensions\"", size)) ||
          (size == 18 && !memcmp(key, "\"output_dimension\"", size)))
        asked->width = *from == 'n' ? asked->width : strtol(from, 0, 10);
      if (size == 17 && !memcmp(key, "\"encoding_format\"", size))
        asked->base64 = p && p - from == 8 && !memcmp(from, "\"base64\"", 8);
    }
    if (!p || !(p = space(p, end))) return false;
  } while (*p == ',');
  return *p == '}' && !space(p + 1, end) && asked->rows > 0 && asked->rows <= ROWS && asked->width > 0 &&
         asked->width <= WIDTH;
}

/* ---- the connections whose answers are not due: a heap, the earliest first ---- */

static struct entry {
  int64_t due;
  Connection *who;
} *heap;
static size_t heaped;
static int timer;

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void set_timer(void) { /* to the earliest; off if there is none */
  int64_t due = heaped ? heap[0].due : 0;
  struct itimerspec at = {.it_value = {due / 1000000000, due % 1000000000}};
  if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, 0)) abort();
}

static void push(int64_t due, Connection *who) {
  static size_t room;
  if (heaped == room) heap = must(realloc(heap, (room = 2 * room + 64) * sizeof *heap));
  size_t at = heaped++;
  for (; at && heap[(at - 1) / 2].due > due; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
  heap[at] = (struct entry){due, who};
  if (!at) set_timer();
}

static Connection *pop(void) {
  Connection *first = heap[0].who;
  struct entry last = heap[--heaped];
  size_t at = 0;
  for (size_t child; (child = 2 * at + 1) < heaped; at = child) {
    if (child + 1 < heaped && heap[child + 1].due < heap[child].due) child++;
    if (last.due <= heap[child].due) break;
    heap[at] = heap[child];
  }
  heap[at] = last;
  return first;
}

/* ---- connections ---- */

static Connection *dropped;

static void drop(Connection *c) {
#ifdef TLS
  if (c->tls) SSL_free(c->tls);
#endif
  close(c->line);
  c->dropped = true;
  c->next = dropped;
  dropped = c;
}

/* Bytes received or sent; 0 if none can be now; -1 if the connection is at its end. */
static ssize_t transfer(Connection *c, bool in, void *bytes, size_t size) {
#ifdef TLS
  if (c->tls) {
    int some = size > 1 << 30 ? 1 << 30 : (int)size;
    ERR_clear_error();
    int got = in ? SSL_read(c->tls, bytes, some) : SSL_write(c->tls, bytes, some);
    if (got > 0) return got;
    int error = SSL_get_error(c->tls, got);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
  }
#endif
  ssize_t got = in ? recv(c->line, bytes, size, 0) : send(c->line, bytes, size, MSG_NOSIGNAL);
  if (got < 0 && errno == EAGAIN) return 0;
  return got ? got : -1;
}

static void refuse(Connection *c, const char *status) {
  static Answer refusals[8]; /* one for each status below */
  Answer *one = refusals;
  while (one->bytes && strncmp(one->bytes + 9, status, 3)) one++;
  if (!one->bytes) {
    char body[100];
    finish(one, status, body, (size_t)snprintf(body, sizeof body, "{\"error\":{\"message\":\"%s\"}}", status));
  }
  c->last = true;
  c->answer = one;
  c->state = WRITING;
}

/* The value of a header line if it has this name, without spaces before it; otherwise 0. */
static const char *header(const char *line, const char *name) {
  size_t size = strlen(name);
  if (strncasecmp(line, name, size) || line[size] != ':') return 0;
  return line + size + 1 + strspn(line + size + 1, " \t");
}

/* Answer the request that has been received, if it is complete. */
static void answer(Connection *c) {
  char *end = memmem(c->request, c->have, "\r\n\r\n", 4);
  if (!end) {
    if (memchr(c->request, 0, c->have)) refuse(c, "400 Bad Request");
    if (c->have > HEAD) refuse(c, "431 Request Header Fields Too Large");
    return;
  }
  if (memchr(c->request, 0, end - c->request)) return refuse(c, "400 Bad Request");
  long length = -1;
  const char *line = c->request, *text;
  while ((line = strstr(line, "\r\n") + 2) < end) {
    if (header(line, "transfer-encoding")) return refuse(c, "501 Not Implemented");
    if (header(line, "expect")) return refuse(c, "417 Expectation Failed");
    if ((text = header(line, "connection")) && !strncasecmp(text, "close", 5)) c->last = true;
    if ((text = header(line, "content-length"))) {
      char *after;
      long said = isdigit((unsigned char)*text) ? strtol(text, &after, 10) : -1;
      if (said < 0 || strspn(after, " \t") != strcspn(after, "\r") || (length >= 0 && length != said))
        return refuse(c, "400 Bad Request");
      length = said;
    }
  }
  const char *target = c->request + 5, *target_end = c->request + strcspn(c->request, "\r");
  target_end = memchr(target, ' ', target_end > target ? target_end - target : 0);
  if (strncmp(c->request, "POST ", 5)) return refuse(c, "405 Method Not Allowed");
  if (!target_end || target_end - target < 11 || memcmp(target_end - 11, "/embeddings", 11))
    return refuse(c, "404 Not Found");
  if (length < 0) return refuse(c, "411 Length Required");
  if (length > BODY) return refuse(c, "413 Content Too Large");
  size_t whole = end + 4 - c->request + length;
  if (c->have < whole) return;
  Answer asked;
  if (!parse(end + 4, end + 4 + length, &asked)) return refuse(c, "400 Bad Request");
  const char *latency = memmem(target, target_end - target, "/latency/", 9);
  double seconds = latency ? strtod(latency + 9, 0) : 0;
  memmove(c->request, c->request + whole, c->have - whole + 1);
  c->have -= whole;
  c->answer = answer_to(&asked);
  c->state = WRITING;
  if (seconds > 0 && seconds <= 60) {
    c->state = WAITING;
    push(now() + (int64_t)(seconds * 1e9), c);
  }
}

/* Go on until the other side has to act; the events of epoll are edges. */
static void proceed(Connection *c) {
  while (c->state != WAITING) {
    if (c->state == WRITING) {
      ssize_t sent = transfer(c, false, c->answer->bytes + c->sent, c->answer->size - c->sent);
      if (sent < 0) return drop(c);
      if (!sent) return;
      if ((c->sent += sent) < c->answer->size) continue;
      if (c->last) return drop(c);
      c->state = READING;
      c->sent = 0;
      if (c->have) answer(c);
    } else {
      if (c->have + 1 >= c->room) c->request = must(realloc(c->request, c->room = 2 * c->room + HEAD));
      ssize_t got = transfer(c, true, c->request + c->have, c->room - c->have - 1);
      if (got < 0) return drop(c);
      if (!got) return;
      c->request[c->have += got] = 0;
      answer(c);
    }
  }
}

/* OpenSSL's context with the key and certificate of a file. */
static void *tls_context(const char *file) {
#ifdef TLS
  SSL_CTX *context = must(SSL_CTX_new(TLS_server_method()));
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
  if (SSL_CTX_use_certificate_chain_file(context, file) == 1 &&
      SSL_CTX_use_PrivateKey_file(context, file, SSL_FILETYPE_PEM) == 1)
    return context;
#endif
  fprintf(stderr, "no https: cannot use %s\n", file);
  exit(2);
}

static void take(int listener, int poll, void *context) {
  for (int line; (line = accept4(listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
    Connection *c = must(calloc(1, sizeof *c));
    c->line = line;
    setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
#ifdef TLS
    if (context) {
      c->tls = must(SSL_new(context));
      SSL_set_fd(c->tls, line);
      SSL_set_accept_state(c->tls);
    }
#endif
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, line, &event)) abort();
  }
  (void)context;
}

int main(int argc, char **argv) {
  void *context = argc > 1 ? tls_context(argv[1]) : 0;
  signal(SIGPIPE, SIG_IGN);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), poll = epoll_create1(0);
  if (bind(listener, (void *)&address, size) || listen(listener, 4096)) return 4;
  if (getsockname(listener, (void *)&address, &size)) return 4;
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  int *sources[] = {&listener, &timer, &(int){STDIN_FILENO}};
  for (int i = 0; i < 3; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = sources[i]};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, *sources[i], &event)) return 5;
  }
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);

  for (struct epoll_event events[EVENTS];;) {
    int happened = epoll_wait(poll, events, EVENTS, -1);
    for (int i = 0; i < happened; i++) {
      void *source = events[i].data.ptr;
      if (source == &listener) {
        take(listener, poll, context);
      } else if (source == &timer) {
        uint64_t times;
        if (read(timer, &times, sizeof times) < 0 && errno != EAGAIN) return 6;
        for (int64_t time = now(); heaped && heap[0].due <= time;) {
          Connection *c = pop();
          c->state = WRITING;
          proceed(c);
        }
        set_timer();
      } else if (source == sources[2]) {
        if (read(STDIN_FILENO, &(char[64]){0}, 64) <= 0) return 0;
      } else if (!((Connection *)source)->dropped) {
        proceed(source);
      }
    }
    for (Connection *c; (c = dropped);) {
      dropped = c->next;
      free(c->request);
      free(c);
    }
  }
}
