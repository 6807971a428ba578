"""Templates of notification texts: read from TOML files, filled in with parameters."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, get_args
from urllib.parse import quote

import msgspec
from msgspec import Struct, ValidationError, convert

from wsserver.errors import ValidationFailed
from wsserver.notifications.parameters import (
    DERIVED,
    PARAMETERS,
    Kinds,
    check,
    derived,
    known,
    required,
)
from wsserver.protocol.notifications import DEFAULT_LOCALE, Locale, NotificationType
from wsserver.protocol.types import JsonObject, is_action_url
from wsserver.protocol.validation import describe, one_of

COMMON = "common"
LOCALES: tuple[Locale, ...] = get_args(Locale)
_SEVEREST_FIRST: tuple[NotificationType, ...] = ("urgent", "error", "warning", "success", "info")
ALERT = {"rate", "threshold"}
DIGEST_LINES = 20
"""Maximum items listed in a digest."""
MAX_FILE_BYTES = 1024 * 1024

_NAME = re.compile(r"\{([a-z_]+)\}")
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CONTROL_BUT_NEWLINE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]+")


class TemplateFaults(ValueError):
    """Invalid template files; ``faults`` lists everything that is wrong."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("; ".join(faults))


class Rendered(NamedTuple):
    """The text of a notification in one language, with its type and link."""

    title: str
    message: str
    type: NotificationType
    action_url: str | None
    auto_close: bool


class Form(Struct, forbid_unknown_fields=True):
    """The part of a template that is the same in all languages (``common.toml``)."""

    type: NotificationType
    type_by: str | None = None
    types: dict[str, NotificationType] = {}
    action_url: str | None = None
    auto_close: bool | None = None
    words: dict[str, str] = {}


class Wording(Struct, forbid_unknown_fields=True):
    """The text of a template in one language."""

    title: str
    message: str


class DigestWording(Struct, forbid_unknown_fields=True):
    """The text of a digest in one language."""

    title: str
    more: str


class Language(NamedTuple):
    """All texts in one language."""

    wordings: dict[str, Wording]
    digest: DigestWording
    daily_digest: DigestWording
    alert: Wording
    words: dict[str, dict[str, str]]


class TemplateFiles(NamedTuple):
    """Templates of an extension: ``texts/{common,zh-CN,en}.toml`` in its package."""

    package: str
    parameters: Kinds


class Templates:
    """All templates in all languages."""

    def __init__(
        self,
        forms: Mapping[str, Form],
        languages: Mapping[Locale, Language],
        kinds: Kinds = PARAMETERS,
    ) -> None:
        self._forms = forms
        self._languages = languages
        self.kinds = kinds
        """The parameters of each template."""

    def check(self, template: str, given: Mapping[str, Any]) -> JsonObject:
        """Validate the parameters of a template; raises ``ValidationFailed``."""
        return check(template, given, self.kinds)

    def type_of(self, template: str, parameters: Mapping[str, Any]) -> NotificationType:
        """The type of a notification of a template; the parameters must be valid."""
        form = self._forms[template]
        if form.type_by is None:
            return form.type
        value = {**parameters, **derived(template, parameters)}.get(form.type_by)
        return form.types.get(str(value), form.type)

    def render(self, template: str, parameters: Mapping[str, Any], locale: Locale) -> Rendered:
        """Fill in a template; raises ``ValidationFailed`` as ``parameters.check`` does."""
        form, language = self._form(template), self._languages[locale]
        given = self.check(template, parameters)
        values = {
            name: _text_of(value) for name, value in {**given, **derived(template, given)}.items()
        }
        worded = {
            name: language.words.get(form.words.get(name, ""), {}).get(value, value)
            for name, value in values.items()
        }
        wording = language.wordings[template]
        quoted = {name: quote(value, safe="") for name, value in values.items()}
        kind = self.type_of(template, given)
        url = _fill(form.action_url, quoted) if form.action_url is not None else ""
        return Rendered(
            title=one_line(_fill(wording.title, worded)),
            message=clean(_fill(wording.message, worded)),
            type=kind,
            action_url=url if is_action_url(url) else None,
            auto_close=closes_itself(kind) if form.auto_close is None else form.auto_close,
        )

    def digest(self, rendered: list[Rendered], locale: Locale) -> Rendered:
        """Several notifications of one template as one, with a line for each."""
        wording, newest = self._languages[locale].digest, rendered[-1]
        lines = [f"- {one_line(each.message)}" for each in rendered[:DIGEST_LINES]]
        if len(rendered) > DIGEST_LINES:
            rest = str(len(rendered) - DIGEST_LINES)
            lines.append(_fill(wording.more, {"count": rest}))
        values = {"title": newest.title, "count": str(len(rendered))}
        return newest._replace(title=_fill(wording.title, values), message="\n".join(lines))

    def daily_digest(self, rendered: list[Rendered], locale: Locale) -> Rendered:
        """Notifications of a day as one, with a line for each; as severe as the most severe."""
        wording = self._languages[locale].daily_digest
        lines = [
            f"- {one_line(each.title)}: {one_line(each.message)}"
            for each in rendered[:DIGEST_LINES]
        ]
        if len(rendered) > DIGEST_LINES:
            rest = str(len(rendered) - DIGEST_LINES)
            lines.append(_fill(wording.more, {"count": rest}))
        types = {each.type for each in rendered}
        return Rendered(
            title=_fill(wording.title, {"count": str(len(rendered))}),
            message="\n".join(lines),
            type=next(each for each in _SEVEREST_FIRST if each in types),
            action_url=None,
            auto_close=False,
        )

    def alert(self, rate: float, threshold: float, locale: Locale) -> Wording:
        """Alert about a high rate of errors, for administrators; both are shares from 0 to 1."""
        wording = self._languages[locale].alert
        values = {"rate": _text_of(rate * 100), "threshold": _text_of(threshold * 100)}
        return Wording(_fill(wording.title, values), _fill(wording.message, values))

    def _form(self, template: str) -> Form:
        if template not in self._forms:
            message = f"{template[:64]!r} is {one_of(tuple(self._forms))}"
            raise ValidationFailed([{"field": "template", "message": message}])
        return self._forms[template]


class Text(Struct, frozen=True, kw_only=True):
    """Content of a notification without a template."""

    title: str
    message: str
    action_url: str | None = None
    auto_close: bool | None = None
    """None: the default of its type."""


class Renderer:
    """Renders stored notifications. ``locale``: for users who have chosen none."""

    def __init__(self, templates: Templates, locale: Locale = DEFAULT_LOCALE) -> None:
        self.templates = templates
        self.locale = locale

    def render(
        self, type_: str, template: str | None, content: str, locale: Locale | None = None
    ) -> Rendered:
        """Text of a stored notification.

        Raises ``ValidationFailed`` for parameters that its template no longer accepts.
        """
        if template is not None:
            parameters: JsonObject = msgspec.json.decode(content)
            return self.templates.render(template, parameters, locale or self.locale)
        text = msgspec.json.decode(content, type=Text)
        kind = msgspec.convert(type_, NotificationType)
        closes = closes_itself(kind) if text.auto_close is None else text.auto_close
        # Programs that embed the server, and earlier versions of it, store any text.
        url = text.action_url if text.action_url and is_action_url(text.action_url) else None
        return Rendered(one_line(text.title), text.message, kind, url, closes)

    def digest(
        self, rendered: Sequence[Rendered], locale: Locale | None = None, *, is_daily: bool = False
    ) -> Rendered:
        """Text of one notification, or of several that are sent as one.

        ``is_daily``: of any templates, in place of one.
        """
        if len(rendered) == 1:
            return rendered[0]
        templates = self.templates
        digest = templates.daily_digest if is_daily else templates.digest
        return digest(list(rendered), locale or self.locale)


def closes_itself(kind: NotificationType) -> bool:
    """Default of ``auto_close``."""
    return kind in ("info", "success")


def one_line(text: str) -> str:
    """A text without line breaks and other control characters, as a subject must be."""
    return _CONTROL.sub(" ", text).strip()


def load_templates(folder: Path | None = None, more: Sequence[TemplateFiles] = ()) -> Templates:
    """Read the built-in texts and those of extensions, overridden by the files in ``folder``.

    A file there may have only some templates, and only some of their keys. Raises
    ``TemplateFaults``.
    """
    faults: list[str] = []
    tables = {name: _read("wsserver.notifications", name) for name in (COMMON, *LOCALES)}
    kinds = dict(PARAMETERS)
    for files in more:
        _add(tables, kinds, files, faults)
    if folder is not None:
        _lay_over(tables, folder, faults)
    forms = {
        name: form
        for name, entry in tables[COMMON].items()
        if (form := _convert(entry, Form, f"{COMMON}.toml [{name}]", faults)) is not None
    }
    languages = {locale: _language(locale, tables[locale], kinds, faults) for locale in LOCALES}
    for name, form in forms.items():
        faults += _faults_of_form(name, form, kinds)
    if faults:
        raise TemplateFaults(faults)
    known_languages = {name: each for name, each in languages.items() if each is not None}
    return Templates(forms, known_languages, kinds)


def _read(package: str, name: str) -> JsonObject:
    file = resources.files(package) / "texts" / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _add(
    tables: dict[str, JsonObject], kinds: dict[str, type], files: TemplateFiles, faults: list[str]
) -> None:
    """Add the templates of an extension, if each is in all files and has a new name."""
    for name, table in tables.items():
        place = f"{files.package}: {name}.toml"
        try:
            own = _read(files.package, name)
        except (OSError, ValueError) as error:  # also bad UTF-8, bad TOML
            faults.append(f"{place}: cannot be read: {error}")
            continue
        taken = own.keys() & table.keys()
        faults += [f"{place} [{each}]: there is one of this name already" for each in sorted(taken)]
        odd = own.keys() ^ files.parameters.keys()
        faults += [f"{place} [{each}]: text or parameters are missing" for each in sorted(odd)]
        table |= {each: own[each] for each in own.keys() & files.parameters.keys() - taken}
    kinds |= files.parameters


def _lay_over(tables: dict[str, JsonObject], folder: Path, faults: list[str]) -> None:
    """Override the built-in tables by the files of a folder."""
    if not folder.is_dir():
        faults.append("is not a folder")
        return
    for path in sorted(folder.glob("*.toml")):
        if path.stem not in tables:
            faults.append(f"{path.name}: not a file of templates; there are {', '.join(tables)}")
            continue
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ValueError("too large")
            own = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:  # also bad UTF-8, bad TOML
            faults.append(f"{path.name}: cannot be read: {error}")
            continue
        built_in = tables[path.stem]
        for name, entry in own.items():
            if name not in built_in or not isinstance(entry, dict):
                faults.append(f"{path.name} [{name}]: no such template")
            else:
                built_in[name] = _merged(built_in[name], entry)


def _merged(below: Any, above: JsonObject) -> JsonObject:
    """A table overridden by another, recursively."""
    merged = dict(below)
    for key, value in above.items():
        is_table = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if is_table else value
    return merged


def _language(
    locale: Locale, table: JsonObject, kinds: Kinds, faults: list[str]
) -> Language | None:
    rest = dict(table)
    words = _convert(rest.pop("words"), dict[str, dict[str, str]], f"{locale}.toml [words]", faults)
    digest = _convert(rest.pop("digest"), DigestWording, f"{locale}.toml [digest]", faults)
    daily = _convert(
        rest.pop("daily_digest"), DigestWording, f"{locale}.toml [daily_digest]", faults
    )
    alert = _convert(rest.pop("alert"), Wording, f"{locale}.toml [alert]", faults)
    wordings: dict[str, Wording] = {}
    for name, entry in rest.items():
        place = f"{locale}.toml [{name}]"
        wording = _convert(entry, Wording, place, faults)
        if wording is not None:
            wordings[name] = wording
            for key in ("title", "message"):
                text = getattr(wording, key)
                found = _faults_of_text(name, text, kinds)
                faults += [f"{place}: {key}: {fault}" for fault in found]
    for name, wording_, known_names in (
        ("digest", digest, {"title": {"title", "count"}, "more": {"count"}}),
        ("daily_digest", daily, {"title": {"count"}, "more": {"count"}}),
        ("alert", alert, {"title": ALERT, "message": ALERT}),
    ):
        for key, names in known_names.items() if wording_ is not None else ():
            odd = set(_NAME.findall(getattr(wording_, key))) - names
            faults += [f"{locale}.toml [{name}]: {key}: no such value {{{each}}}" for each in odd]
    if words is None or digest is None or daily is None or alert is None:
        return None
    return Language(wordings, digest, daily, alert, words)


def _faults_of_form(name: str, form: Form, kinds: Kinds) -> Iterator[str]:
    place, names = f"{COMMON}.toml [{name}]", _names(name, kinds)
    if form.type_by is not None and form.type_by not in names:
        yield f"{place}: type_by: no such parameter {form.type_by[:64]}"
    for parameter in form.words.keys() - names:
        yield f"{place}: words: no such parameter {parameter[:64]}"
    for fault in _faults_of_text(name, form.action_url or "", kinds):
        yield f"{place}: action_url: {fault}"
    if form.action_url is not None and not is_action_url(_NAME.sub("x", form.action_url)):
        yield f"{place}: action_url: must be a path that begins with one /, or http(s)://host/…"


def _faults_of_text(template: str, text: str, kinds: Kinds) -> Iterator[str]:
    """Unknown parameters, optional ones outside of brackets, and unbalanced brackets."""
    always = required(template, kinds)
    names = _names(template, kinds)
    if template == "cost_warning":
        always |= frozenset(DERIVED[template])  # always derived: its quota is above zero
    for name in _NAME.findall(text):
        if name not in names:
            yield f"no such parameter {{{name[:64]}}}"
    for name in _NAME.findall(_OPTIONAL.sub("", text)):
        if name in names - always:
            yield f"{{{name}}} is optional and must be inside [brackets]"
    if re.search(r"[{}\[\]]", _NAME.sub("", _OPTIONAL.sub(r"\1", text))):
        yield "unbalanced bracket"


def _names(template: str, kinds: Kinds) -> frozenset[str]:
    return known(template, kinds) | frozenset(DERIVED.get(template, ()))


def _fill(text: str, values: Mapping[str, str]) -> str:
    """Replace names by values in one pass, so that values are never read as templates."""

    def part(match: re.Match[str]) -> str:
        inside = match[1]
        return inside if all(name in values for name in _NAME.findall(inside)) else ""

    return _NAME.sub(lambda match: values[match[1]], _OPTIONAL.sub(part, text))


def clean(text: str) -> str:
    """A text without control characters but line breaks."""
    return _CONTROL_BUT_NEWLINE.sub(" ", text.replace("\r\n", "\n")).strip()


def _text_of(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.6f}".rstrip("0").rstrip(".")
    return str(value)


def _convert(entry: Any, kind: Any, place: str, faults: list[str]) -> Any:
    try:
        return convert(entry, kind)
    except ValidationError as error:
        complaint = describe(error)
        faults.append(f"{place}: {complaint.field}: {complaint.message}")
        return None
