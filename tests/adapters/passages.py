"""200 short passages, and questions that one of them answers, for a search with `local/minilm`."""

_COUNTRIES = """
Argentina Buenos-Aires peso Spanish asado
Austria Vienna euro German schnitzel
Bangladesh Dhaka taka Bengali biryani
Bolivia Sucre boliviano Quechua salteñas
Brazil Brasília real Portuguese feijoada
Bulgaria Sofia lev Bulgarian banitsa
Cambodia Phnom-Penh riel Khmer amok
Chile Santiago peso Spanish empanadas
China Beijing renminbi Mandarin dumplings
Croatia Zagreb euro Croatian peka
Cuba Havana peso Spanish ropa-vieja
Czechia Prague koruna Czech svíčková
Denmark Copenhagen krone Danish smørrebrød
Egypt Cairo pound Arabic koshari
Ethiopia Addis-Ababa birr Amharic injera
Finland Helsinki euro Finnish karjalanpiirakka
France Paris euro French cassoulet
Georgia Tbilisi lari Georgian khachapuri
Ghana Accra cedi English jollof-rice
Greece Athens euro Greek moussaka
Hungary Budapest forint Hungarian goulash
Iceland Reykjavík króna Icelandic skyr
India New-Delhi rupee Hindi dal
Indonesia Jakarta rupiah Indonesian nasi-goreng
Iran Tehran rial Persian ghormeh-sabzi
Ireland Dublin euro Irish colcannon
Israel Jerusalem shekel Hebrew shakshuka
Italy Rome euro Italian lasagne
Japan Tokyo yen Japanese sushi
Kenya Nairobi shilling Swahili ugali
Laos Vientiane kip Lao larb
Malaysia Kuala-Lumpur ringgit Malay laksa
Mexico Mexico-City peso Spanish tamales
Mongolia Ulaanbaatar tögrög Mongolian buuz
Morocco Rabat dirham Arabic tagine
Nepal Kathmandu rupee Nepali momos
Nigeria Abuja naira Hausa egusi-soup
Norway Oslo krone Norwegian fårikål
Pakistan Islamabad rupee Urdu nihari
Peru Lima sol Spanish ceviche
Poland Warsaw złoty Polish pierogi
Portugal Lisbon euro Portuguese bacalhau
Romania Bucharest leu Romanian sarmale
Senegal Dakar franc Wolof thieboudienne
Sweden Stockholm krona Swedish meatballs
Thailand Bangkok baht Thai pad-thai
Turkey Ankara lira Turkish kebab
Ukraine Kyiv hryvnia Ukrainian borscht
Vietnam Hanoi dong Vietnamese pho
Zambia Lusaka kwacha Bemba nshima
"""
_SENTENCES = (
    "The capital of {0} is {1}.",
    "The currency of {0} is the {2}.",
    "Many people in {0} speak {3}.",
    "A traditional dish of {0} is {4}.",
)
PASSAGES = [
    sentence.format(*(word.replace("-", " ") for word in line.split()))
    for line in _COUNTRIES.strip().splitlines()
    for sentence in _SENTENCES
]
ANSWERS = {
    "What money do people pay with in Japan?": "The currency of Japan is the yen.",
    "Which city is the seat of government of Kenya?": "The capital of Kenya is Nairobi.",
    "What do they eat in Peru?": "A traditional dish of Peru is ceviche.",
    "Which language would I hear in Iceland?": "Many people in Iceland speak Icelandic.",
}
