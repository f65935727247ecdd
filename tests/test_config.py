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


@pytest.mark.parametrize("struct", [config.Settings, config.Auth, config.Llm, config.Sandbox, config.Limits])
def test_every_setting_has_a_meaning(struct: type) -> None:
    assert set(struct.__struct_fields__) <= config.describe(struct).keys()  # type: ignore[attr-defined]
