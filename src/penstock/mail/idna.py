"""Domain names as DNS and TLS know them: lower case, ASCII, A-labels in place of U-labels.

An address keeps the domain as its owner writes it (see ``address.py``); a look-up, a certificate and a queue name need one form of it, in
which ``bücher.example`` and ``xn--bcher-kva.example`` are the same. The rules are those of IDNA2008 (RFC 5890, RFC 5891) with the mapping
of RFC 5895. Rejected: Python's ``idna`` codec, which is IDNA2003 and turns ``straße.example`` into ``strasse.example``, the domain of
somebody else. The Bidi rule of RFC 5893 is left to registries: a name that breaks it can be looked up, and is not found.
"""

from __future__ import annotations

import re
import unicodedata

# RFC 1035 §2.3.4: labels 63 octets or less, names 255 octets or less on the wire, which is 253 written with dots.
MAX_LABEL, MAX_NAME = 63, 253

# Letters, digits and hyphens (RFC 1123 §2.1); an underscore is let through, as real hosts use it.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]*[a-z0-9_])?")
# RFC 5895 §2: the ideographic full stop separates labels like a dot; with it go its wide and half-width forms.
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
# RFC 5892 §2.1, LetterDigits; what is still upper case when the mapping is done is Cherokee, which folds that way.
_LETTER_DIGITS = frozenset({"Ll", "Lu", "Lo", "Lm", "Mn", "Mc", "Nd"})
# RFC 5892 §2.6 and Appendix A: what is part of words in Catalan, Greek, Hebrew, Sindhi, Tibetan, Japanese and Chinese, and is no letter.
_WITHIN_WORDS = frozenset("-\u00b7\u0375\u05f3\u05f4\u06fd\u06fe\u0f0b\u30fb\u3007")
# Letters of their own in IDNA2008, which folding would turn into others (RFC 5894 §7.2): sharp s, small and capital, and final sigma.
_OWN_LETTERS = frozenset("\u00df\u1e9e\u03c2")
_NON_JOINER, _JOINER, _VIRAMA = "\u200c", "\u200d", 9


def to_ascii(domain: str) -> str:
    """The domain in lower case and A-labels, without a dot at its end.

    Raises: ValueError with the reason when it is no host name that could be looked up (RFC 5891 §5).
    """
    # A longer one cannot fit, and is not worth the work of normalising; a U-label is never longer than its A-label.
    if not domain or len(domain) > MAX_NAME + 1:
        raise ValueError("the domain is empty" if not domain else f"the domain is longer than {MAX_NAME} octets")
    labels = _DOTS.split(domain)
    if labels[-1] == "" and len(labels) > 1:
        labels.pop()
    name = ".".join(_a_label(label, domain) for label in labels)
    if len(name) > MAX_NAME:
        raise ValueError(f"the domain is longer than {MAX_NAME} octets")
    return name


def in_a_labels(domain: str) -> str:
    """The domain in A-labels; as it is when it is ASCII already, or no host name."""
    if domain.isascii():
        return domain
    try:
        return to_ascii(domain)
    except ValueError:
        return domain


def in_u_labels(domain: str) -> str:
    """A domain of ASCII with each A-label that stands for a valid U-label written as that (RFC 5890 §2.3.2.1)."""
    return ".".join(map(_u_label, domain.split("."))) if "xn--" in domain.lower() else domain


def _u_label(label: str) -> str:
    if not label.lower().startswith("xn--"):
        return label
    try:
        # A fake A-label, which does not come back as it was, stays what it is.
        decoded = label[4:].lower().encode("ascii").decode("punycode")
        return decoded if to_ascii(decoded) == label.lower() else label
    except ValueError:
        return label


def _a_label(label: str, domain: str) -> str:
    label = label.lower() if label.isascii() else _mapped(label)
    if not label.isascii():
        _check_u_label(label, domain)
        label = "xn--" + label.encode("punycode").decode("ascii")
    elif not _LABEL.fullmatch(label):
        raise ValueError(f"{domain!r} is not a domain name: the label {label!r} is malformed")
    if len(label) > MAX_LABEL:
        raise ValueError(f"{domain!r} has a label longer than {MAX_LABEL} octets")
    return label


def _mapped(label: str) -> str:
    """Lower case and composed, as people type names (RFC 5895 §2)."""
    wide = unicodedata.normalize("NFKC", label)
    return unicodedata.normalize("NFKC", "".join(letter.lower() if letter in _OWN_LETTERS else letter.casefold() for letter in wide))


def _check_u_label(label: str, domain: str) -> None:
    """RFC 5891 §5.4: what a look-up application must refuse."""
    # "--" in the third and fourth place marks an encoding; a mark that begins a label would join the dot.
    if label[2:4] == "--" or label[0] == "-" or label[-1] == "-" or unicodedata.category(label[0]).startswith("M"):
        raise ValueError(f"{domain!r} is not a domain name: the label {label!r} is malformed")
    for place, letter in enumerate(label):
        known = unicodedata.category(letter) in _LETTER_DIGITS or letter in _WITHIN_WORDS or _joins(label, place)
        if not known:
            raise ValueError(f"{domain!r} is not a domain name: U+{ord(letter):04X} is not allowed in one")


def _joins(label: str, place: int) -> bool:
    """A joiner after a virama, or a non-joiner between Arabic letters (RFC 5892 Appendix A.1 and A.2)."""
    letter, before = label[place], label[place - 1] if place else ""
    if letter not in {_JOINER, _NON_JOINER} or not before:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return True
    after = label[place + 1 : place + 2]
    return letter == _NON_JOINER and after != "" and unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL"
