"""What Kubernetes takes for a name, a label, a variable and an image.

Sources: `k8s.io/apimachinery/pkg/util/validation`, and the grammar of `github.com/distribution/reference`.
"""

from __future__ import annotations

import re

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_1035 = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT = re.compile(r"(?=.*[a-z])[a-z0-9](?:-?[a-z0-9])*")
_VARIABLE = re.compile(r"[ -<>-~]+")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*(?::\d+)?"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}"
_REMAINDER = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@{_DIGEST})?")

LONGEST_LABEL, LONGEST_SUBDOMAIN, LONGEST_PORT = 63, 253, 15
AS_LABEL = "use a-z, 0-9 and -, no - at an end, 63 characters or fewer"
AS_SUBDOMAIN = "use a-z, 0-9, - and ., a letter or digit at both ends, 253 characters or fewer"
AS_VALUE = "use letters, digits, -, _ and ., a letter or digit at both ends, 63 characters or fewer"


def is_label(name: str) -> bool:
    """Whether a namespace, a container or a volume may be called so (RFC 1123's label)."""
    return len(name) <= LONGEST_LABEL and _DNS_LABEL.fullmatch(name) is not None


def is_dns_1035(name: str) -> bool:
    """Whether a Service may be called so: a label that begins with a letter."""
    return len(name) <= LONGEST_LABEL and _DNS_1035.fullmatch(name) is not None


def is_subdomain(name: str) -> bool:
    """Whether most other objects may be called so: Secrets, pods, classes."""
    return len(name) <= LONGEST_SUBDOMAIN and _SUBDOMAIN.fullmatch(name) is not None


def is_label_value(value: str) -> bool:
    """Whether a label may have this value."""
    return value == "" or (len(value) <= LONGEST_LABEL and _QUALIFIED.fullmatch(value) is not None)


def is_label_key(key: str) -> bool:
    """Whether a label or annotation may be called so: a name, with a domain before it or without."""
    prefix, slash, name = key.rpartition("/")
    fits = len(name) <= LONGEST_LABEL and _QUALIFIED.fullmatch(name) is not None
    return fits and (not slash or is_subdomain(prefix))


def is_port_name(name: str) -> bool:
    """Whether a port of a container may be called so (an IANA service name)."""
    return len(name) <= LONGEST_PORT and _PORT.fullmatch(name) is not None


def is_variable(name: str) -> bool:
    """Whether a variable of a container may be called so: printable ASCII without `=` (Kubernetes 1.34)."""
    return _VARIABLE.fullmatch(name) is not None


def is_image(reference: str) -> bool:
    """Whether a node can pull this: capitals may be in the registry's name, and nowhere behind it."""
    first, slash, rest = reference.partition("/")
    named = slash and (any(mark in first for mark in ".:") or first == "localhost" or first != first.lower())
    if named and re.fullmatch(_DOMAIN, first) is None:
        return False
    return _REMAINDER.fullmatch(rest if named else reference) is not None
