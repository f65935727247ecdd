"""Settings: environment over file over defaults, and errors that name the setting."""

from pathlib import Path

import pytest

from bot import config
from bot.core.errors import ConfigError

CANARY = "canary-77aa01"


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "onhand.toml"
    file.write_text('port = 4000\nhandle = "@helper"\n[limits]\nsteps = 7\n')
    settings = config.load({"ONHAND_PORT": "5000", "ONHAND_LIMITS__MINUTES": "2.5"}, file)
    assert (settings.port, settings.handle, settings.label) == (5000, "@helper", "onhand")
    assert (settings.limits.steps, settings.limits.minutes) == (7, 2.5)
    origins = {name: origin for name, _, origin, _ in config.rows(settings, settings.origins)}
    assert origins["ONHAND_PORT"] == "environment"
    assert origins["ONHAND_HANDLE"] == "onhand.toml"
    assert origins["ONHAND_LABEL"] == "default"


def test_named_models_and_providers_have_sections() -> None:
    settings = config.load({"ONHAND_LLM__MODEL": "a", "ONHAND_LLM__FAST__MODEL": "b", "ONHAND_GITHUB__TOKEN": "t" * 8})
    assert (settings.llm.model, settings.models["fast"].model) == ("a", "b")
    assert settings.sections == {"github": {"token": "t" * 8}}


def test_secrets_are_masked_where_settings_are_shown() -> None:
    settings = config.load({"ONHAND_LLM__API_KEY": CANARY, "ONHAND_DATABASE_URL": f"postgresql://u:{CANARY}@h/d"})
    shown = repr(settings) + repr(list(config.rows(settings, settings.origins)))
    assert CANARY not in shown.replace(repr(settings.sections), "")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ONHAND_PORT", "many", "ONHAND_PORT"),
        ("ONHAND_PROT", "1", "did you mean PORT"),
        ("ONHAND_LIMITS__STEP", "1", "did you mean STEPS"),
        ("ONHAND_SANDBOX__NETWORK", "all", "ONHAND_SANDBOX__NETWORK"),
        ("ONHAND_PORT__X", "1", "ONHAND_PORT"),
        ("ONHAND_PORT", "65536", "ONHAND_PORT"),
        ("ONHAND_LIMITS", "5", "ONHAND_LIMITS: expected a section"),
        ("ONHAND_LLM", "5", "ONHAND_LLM: expected a section"),
        ("ONHAND_LLM__FAST__MODLE", "a", "there is no setting ONHAND_LLM__FAST__MODLE; did you mean MODEL"),
        ("ONHAND_LIMITS__CONCURRENT_RUNS", "0", "ONHAND_LIMITS__CONCURRENT_RUNS"),
        ("ONHAND_LIMITS__STEPS", "-1", "ONHAND_LIMITS__STEPS"),
        ("ONHAND_LIMITS__MINUTES", "nan", "ONHAND_LIMITS__MINUTES"),
        ("ONHAND_LLM__TIMEOUT", "0", "ONHAND_LLM__TIMEOUT"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config.load({variable: value})


def test_a_broken_file_is_said_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "onhand.toml"
    file.write_text("port = \n")
    with pytest.raises(ConfigError, match="line 1"):
        config.load({}, file)


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    file = tmp_path / "onhand.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="no valid TOML"):
        config.load({}, file)


def test_no_limit_is_a_limit_that_may_be_set() -> None:
    names = ("PER_PERSON", "PER_REPOSITORY", "PER_THREAD", "LOOP_REQUESTS", "LOOP_MINUTES")
    limits = config.load({f"ONHAND_LIMITS__{name}": "0" for name in names}).limits
    assert limits.per_person == limits.loop_requests == limits.loop_minutes == 0


def test_a_data_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    config.check_home(tmp_path / "yet" / "to" / "come")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"ONHAND_HOME: expected a folder, {tmp_path}/file is none"):
        config.check_home(tmp_path / "file" / "home")


@pytest.mark.parametrize("struct", [config.Settings, config.Auth, config.Llm, config.Sandbox, config.Limits])
def test_every_setting_has_a_meaning(struct: type) -> None:
    assert set(struct.__struct_fields__) <= config.describe(struct).keys()  # type: ignore[attr-defined]
