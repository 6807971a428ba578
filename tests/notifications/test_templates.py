"""Templates in all languages; files that override them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsserver.errors import ValidationFailed
from wsserver.notifications.parameters import PARAMETERS, known, reached, required
from wsserver.notifications.templates import (
    DIGEST_LINES,
    LOCALES,
    Rendered,
    TemplateFaults,
    load_templates,
)

TEMPLATES = load_templates()

# The contract's list, written out on purpose: the code must not check itself.
CONTRACT = {
    "device_status": "device_id device_name old_status new_status",
    "device_reconnect": "device_id device_name attempt?",
    "risk_alert": "device_id device_name reason",
    "ai_status": "session_id status detail?",
    "message_status": "session_id message_id status",
    "human_takeover": "session_id customer_name reason?",
    "chat_message": "session_id title text",
    "cost_warning": "used quota period unit?",
    "budget_exceeded": "used budget period currency?",
    "usage_report": "period used quota unit?",
    "maintenance": "starts_at ends_at detail?",
    "feature_update": "summary version?",
    "security_alert": "event detail? ip?",
}
NUMBERS = {"used": 96, "quota": 100, "budget": 90, "attempt": 3}
DEVICE = {
    "device_id": "device_123",
    "device_name": "张三的微信",
    "old_status": "online",
    "new_status": "offline",
}


def values(template: str, *, optional: bool) -> dict[str, Any]:
    names = known(template) if optional else required(template)
    return {name: NUMBERS.get(name, f"<{name}>") for name in names}


def faults(template: str, params: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationFailed) as refused:
        TEMPLATES.render(template, params, "en")
    return {error["field"]: error["message"] for error in refused.value.details["errors"]}


def test_the_text_of_an_offline_device_is_that_of_the_contract() -> None:
    assert TEMPLATES.render("device_status", DEVICE, "zh-CN") == Rendered(
        title="设备状态变化",
        message="设备 张三的微信 状态从 在线 变更为 离线",
        type="warning",
        action_url="/devices/device_123",
        auto_close=False,
    )


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        ("online", "在线", "success"),
        ("offline", "离线", "warning"),
        ("risk_control", "风控", "error"),
        ("banned", "被封", "error"),
        ("<更新中>", "<更新中>", "info"),
    ],
)
def test_statuses_are_translated_and_other_texts_stand_as_they_are(
    status: str, word: str, kind: str
) -> None:
    rendered = TEMPLATES.render("device_status", {**DEVICE, "new_status": status}, "zh-CN")
    assert rendered.message.endswith(f"变更为 {word}")
    assert rendered.type == kind
    assert rendered.auto_close == (kind in ("info", "success"))


def test_the_templates_and_their_parameters_are_those_of_the_contract() -> None:
    assert set(PARAMETERS) == set(CONTRACT)
    for template, listed in CONTRACT.items():
        names = listed.split()
        assert known(template) == {name.rstrip("?") for name in names}
        assert required(template) == {name for name in names if not name.endswith("?")}


@pytest.mark.parametrize("template", CONTRACT)
@pytest.mark.parametrize("locale", LOCALES)
def test_every_template_shows_its_parameters(template: str, locale: Any) -> None:
    full = TEMPLATES.render(template, values(template, optional=True), locale)
    short = TEMPLATES.render(template, values(template, optional=False), locale)
    for rendered in (full, short):
        text = rendered.title + rendered.message + str(rendered.action_url)
        assert not set("{}[]") & set(text)
        assert rendered.title
    shown = full.title + full.message + str(full.action_url).replace("%3C", "<").replace("%3E", ">")
    for name, value in values(template, optional=True).items():
        assert str(value) in shown, name
    assert (short.message != full.message) == (known(template) != required(template))


def test_a_missing_and_an_extra_parameter_are_refused_by_name() -> None:
    params = {**DEVICE, "colour": "red"}
    del params["old_status"]
    assert faults("device_status", params) == {
        "params.old_status": "required",
        "params.colour": "unknown parameter; device_status takes device_id, device_name,"
        " new_status, old_status",
    }
    assert list(faults("no_such_template", {})) == ["template"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device_name", 5),
        ("device_name", None),
        ("device_name", ""),
        ("device_name", "x" * 2001),
        ("device_name", ["x"]),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name: str, value: Any) -> None:
    assert list(faults("device_status", {**DEVICE, name: value})) == [f"params.{name}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("used", "80"), ("used", -1), ("quota", 0), ("quota", True), ("used", float("nan"))],
)
def test_numbers_must_be_numbers(name: str, value: Any) -> None:
    params = {"used": 80, "quota": 100, "period": "2024-01", name: value}
    assert list(faults("cost_warning", params)) == [f"params.{name}"]


def test_what_a_value_holds_is_never_read_as_a_template() -> None:
    odd = "{device_id}[x]{0.__class__}%s${HOME}"
    rendered = TEMPLATES.render("device_status", {**DEVICE, "device_name": odd}, "en")
    assert odd in rendered.message


def test_values_cannot_leave_their_place_in_a_link() -> None:
    rendered = TEMPLATES.render("device_status", {**DEVICE, "device_id": "../a?b#c 张"}, "en")
    assert rendered.action_url == "/devices/..%2Fa%3Fb%23c%20%E5%BC%A0"


def test_a_title_is_one_line_and_nothing_holds_control_characters() -> None:
    rendered = TEMPLATES.render("security_alert", {"event": "a\r\nb\x1b[0m", "detail": "c"}, "en")
    assert rendered.message == "a\nb [0m: c"
    assert rendered.title == "Security alert"


@pytest.mark.parametrize(
    ("used", "quota", "threshold"),
    [
        (79.99, 100, 0),
        (80, 100, 80),
        (94.9, 100, 80),
        (0.95, 1, 95),
        (100, 100, 100),
        (250, 2, 100),
    ],
)
def test_the_threshold_follows_from_use_and_quota(
    used: float, quota: float, threshold: int
) -> None:
    assert reached(used, quota) == threshold


def test_the_whole_quota_used_is_more_serious_than_a_part_of_it() -> None:
    params = {"used": 80, "quota": 100, "period": "2024-01"}
    assert TEMPLATES.type_of("cost_warning", params) == "warning"
    assert TEMPLATES.type_of("cost_warning", {**params, "used": 100}) == "error"


def test_a_usage_report_without_a_quota_has_no_percentage() -> None:
    params = {"used": 1.5, "quota": 0, "period": "2024-01", "unit": "h"}
    assert TEMPLATES.render("usage_report", params, "en").message == "Used in 2024-01: 1.5 of 0 h"


def test_several_as_one_have_a_line_each_up_to_a_limit() -> None:
    one = TEMPLATES.render("device_status", DEVICE, "zh-CN")
    digest = TEMPLATES.digest([one, one, one], "zh-CN")
    assert digest.title == "设备状态变化（共 3 条）"
    assert digest.message.splitlines() == [f"- {one.message}"] * 3
    many = TEMPLATES.digest([one] * (DIGEST_LINES + 5), "en").message.splitlines()
    assert many[-1] == "… and 5 more"
    assert len(many) == DIGEST_LINES + 1


def test_a_file_replaces_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "zh-CN.toml").write_text('[device_status]\ntitle = "{device_name} 变了"\n')
    (tmp_path / "common.toml").write_text('[device_status]\ntypes = { offline = "urgent" }\n')
    templates = load_templates(tmp_path)
    rendered = templates.render("device_status", DEVICE, "zh-CN")
    assert rendered.title == "张三的微信 变了"
    assert rendered.message == "设备 张三的微信 状态从 在线 变更为 离线"
    assert rendered.type == "urgent"
    assert templates.type_of("device_status", {**DEVICE, "new_status": "banned"}) == "error"
    assert templates.render("device_status", DEVICE, "en") == TEMPLATES.render(
        "device_status", DEVICE, "en"
    )._replace(type="urgent")


@pytest.mark.parametrize(
    ("file", "text", "part"),
    [
        ("fr.toml", "", "fr.toml: not a file of templates"),
        ("en.toml", "[nothing]", "[nothing]: no such template"),
        ("en.toml", "[device_status]\ntitle = 5", "title: Expected str"),
        ("en.toml", "[device_status]\ncolour = 'x'", "colour: unknown field"),
        ("en.toml", "[device_status]\ntitle = '{colour}'", "no such parameter {colour}"),
        ("en.toml", "[device_reconnect]\ntitle = '{attempt}'", "{attempt} is optional"),
        ("en.toml", "[device_status]\ntitle = '{device_id'", "unbalanced bracket"),
        ("en.toml", "[device_status]\ntitle = 'a[b'", "unbalanced bracket"),
        ("en.toml", "[digest]\ntitle = '{colour}'", "no such value {colour}"),
        ("en.toml", "[alert]\nmessage = '{colour}'", "no such value {colour}"),
        ("en.toml", "not TOML", "cannot be read"),
        ("common.toml", "[device_status]\ntype = 'loud'", "type"),
        ("common.toml", "[device_status]\ntype_by = 'colour'", "type_by"),
        ("common.toml", "[device_status]\nwords = { colour = 'x' }", "words"),
        ("common.toml", "[device_status]\naction_url = '/{colour}'", "action_url"),
        ("common.toml", "[device_status]\naction_url = '//host/{device_id}'", "begins with one /"),
        ("common.toml", "[device_status]\naction_url = 'javascript:x'", "begins with one /"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_fault(
    tmp_path: Path, file: str, text: str, part: str
) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(TemplateFaults) as found:
        load_templates(tmp_path)
    assert any(fault.startswith(file) and part in fault for fault in found.value.faults)


def test_a_folder_that_is_none_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(TemplateFaults):
        load_templates(tmp_path / "nowhere")
