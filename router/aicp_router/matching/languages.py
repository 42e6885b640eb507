"""Languages: which ones an agent says that it works in, as ISO 639-1 codes. Profiles name them in any way."""

import re
from collections.abc import Iterable
from functools import lru_cache

_TABLE = """
en: eng english inglés englisch anglais 영어 英语 英語 英文
ko: kor korean coreano koreanisch coréen 한국어 한국말 조선말 韩语 韓国語 韩文 조선어
zh: zho chi cmn chinese mandarin chino chinesisch chinois 중국어 中文 汉语 漢語 普通话 中国語 华语
ja: jpn japanese japonés japanisch japonais 일본어 日语 日語 日本語 日文
es: spa spanish español espanol castellano spanisch espagnol 스페인어 西班牙语 スペイン語
de: deu ger german deutsch alemán allemand 독일어 德语 ドイツ語
fr: fra fre french français francais francés französisch 프랑스어 法语 フランス語
it: ita italian italiano italienisch italien 이탈리아어 意大利语 イタリア語
pt: por portuguese português portugues portugiesisch portugais 포르투갈어 葡萄牙语 ポルトガル語
ru: rus russian русский ruso russisch russe 러시아어 俄语 ロシア語
ar: ara arabic العربية árabe arabisch arabe 아랍어 阿拉伯语 アラビア語
hi: hin hindi हिन्दी 힌디어 印地语 ヒンディー語
th: tha thai ไทย 태국어 泰语 タイ語
el: ell gre greek ελληνικά griego griechisch grec 그리스어 希腊语 ギリシャ語
he: heb iw hebrew עברית hebreo hebräisch hébreu 히브리어 希伯来语 ヘブライ語
"""

_CODES = {
    name: code.strip()
    for code, _, names in (line.partition(":") for line in _TABLE.strip().splitlines())
    for name in names.split()
}
"""Other names of those languages that `intent.language` tells apart."""


_ANY = frozenset({"*", "all", "any", "every", "multilingual", "모든", "多语言", "多言語", "todos", "alle", "toutes"})
_PARTS = re.compile(r"[\s_/,()-]+")


@lru_cache(maxsize=4_096)
def code(name: str) -> str:
    """What a profile calls a language as a code: `ko-KR`, `kor`, `Korean (Seoul)` and `한국어` are `ko`. An unknown
    name stays one, so that it is no other language's; a name for all of them gives an empty one."""
    words = [word for word in _PARTS.split(name.casefold()) if word]
    if not words or not _ANY.isdisjoint(words):
        return ""
    # A tag begins with its language (`zh-TW`), a name ends with it (`Brazilian Portuguese`).
    known = [_CODES[word] for word in words if word in _CODES]
    return words[0] if words[0] in _CODES.values() or not known else known[0]


def codes(names: Iterable[str]) -> frozenset[str]:
    """The codes of several languages; none of them when one of the names means all languages."""
    found = frozenset(map(code, names))
    return found if "" not in found else frozenset()
