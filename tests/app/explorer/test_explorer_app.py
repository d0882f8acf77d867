"""The explorer's frame without a browser: pages run under AppTest, the server's flags, its port."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mltwin import InputError
from mltwin.app.app_commands import free_port
from mltwin.app.explorer import jobs, main_script, theme, workspace
from mltwin.app.explorer.frame import Page, pages

AppTest = pytest.importorskip("streamlit.testing.v1").AppTest


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One workspace and its workers for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("app")
        patch.setenv(workspace.VARIABLE, str(folder))
        jobs.the_pool.cache_clear()
        yield folder
        jobs.the_pool().close()
        jobs.the_pool.cache_clear()


def serving_page() -> None:
    from mltwin.app.explorer.frame import draw, pages

    draw(next(page for page in pages() if page.slug == "serving"))


@pytest.fixture
def serving(shared: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The serving page after its default run."""
    from mltwin.app.explorer import panel

    monkeypatch.setenv(workspace.VARIABLE, str(shared))
    monkeypatch.setattr(panel, "_INLINE_S", 120.0)  # AppTest has no timer to look again
    app = AppTest.from_function(serving_page, default_timeout=150)
    app.query_params["requests"] = "500"
    return app


def page_of(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception, app.exception
    return app


def test_the_default_is_shown(serving: AppTest) -> None:
    app = page_of(serving)
    assert app.title[0].value == "Serving"
    shown = {metric.label: metric.value for metric in app.metric}
    assert set(shown) >= {"TTFT p99 (ms)", "Goodput (/s)", "Cost ($/M)"}
    assert not app.error and not app.warning


def test_a_control_changes_the_result(serving: AppTest) -> None:
    app = page_of(serving)
    before = app.metric[1].value
    rate = next(slider for slider in app.slider if slider.label.startswith("Rate"))
    rate.set_value(95.0)
    page_of(app)
    assert app.metric[1].value != before and app.query_params["rate"] == "95.0"


def test_an_example_sets_all_controls(serving: AppTest) -> None:
    app = page_of(serving)
    start = next(box for box in app.selectbox if box.label == "Start from")
    start.select("8B on 4 H100")
    page_of(app)
    assert app.query_params["model"] == "llama-3.1-8b"
    assert next(box for box in app.selectbox if box.label == "Model").value == "llama-3.1-8b"


def test_a_wrong_field_is_one_line(serving: AppTest) -> None:
    app = page_of(serving)
    app.text_area[0].set_value("[workload]\nnonsense = 1")
    page_of(app)
    assert len(app.error) == 1 and "unknown key" in app.error[0].value
    assert not app.metric


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rate", "9" * 9000),
        ("rate", "NaN"),
        ("rate", "-5"),
        ("rate", "[" * 3000),
        ("requests", "5000000"),
        ("mixed", '{"gpu": "../../etc/passwd"}'),
        ("mixed", '{"replicas": "x"}'),
        ("mixed", "bWFsZm9ybWVkIGJhc2U2NA=="),
        ("trace", "/etc/passwd"),
        ("trace", "upload:0123456789abcdef.csv"),
        ("trace", "upload:../../etc/passwd"),
        ("policies", '{"route": "evil.py:f"}'),
        ("policies", "[1, 2]"),
        ("policies", '{"route": {"name": "queue_limit"}}'),
        ("more", "[[["),
        ("more", 'system = "nonsense"'),
        ("evil", "<script>alert(1)</script>"),
        ("error_bars", "100000"),
        ("seed", "-1"),
        ("model", "$(reboot)"),
    ],
)
def test_a_hostile_link_gives_way_to_the_defaults(name: str, text: str, serving: AppTest) -> None:
    serving.query_params.clear()
    serving.query_params[name] = text
    app = page_of(serving)
    assert len(app.warning) == 1 and "could not be followed" in app.warning[0].value
    assert app.metric and not app.error and name not in app.query_params


def test_the_router_leads_to_the_first_page(serving: AppTest) -> None:
    app = AppTest.from_file(str(main_script()), default_timeout=150)
    assert page_of(app).title[0].value == pages()[0].title


def test_every_page_module_has_a_page() -> None:
    import pkgutil

    from mltwin.app.explorer import pages as package

    modules = {info.name for info in pkgutil.iter_modules(package.__path__)}
    assert {page.slug for page in pages()} == modules
    for page in pages():
        assert isinstance(page, Page) and page.icon.startswith(":material/")
        assert page.section and page.about[-1] in ".?"
        assert "cannot be loaded" not in page.about


def test_flags_are_options_of_streamlit() -> None:
    from streamlit import config

    known = config._config_options_template
    assert set(theme.flags()) <= set(known)
    assert theme.flags()["browser.gatherUsageStats"] is False
    assert theme.flags()["client.showErrorDetails"] == "none"


def test_a_taken_port_gives_the_next() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) > port
    assert free_port("127.0.0.1", 0) > 0
    with pytest.raises(InputError, match="no address of this machine"):
        free_port("no-such-host.invalid", 8501)


def test_the_command_says_where_and_warns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from mltwin.app import app_commands, cli

    served: list[tuple[str, int, bool]] = []
    monkeypatch.setattr(app_commands, "serve", lambda *given: served.append(given))
    monkeypatch.setattr(jobs, "the_pool", lambda: None)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit):
            cli.main(
                ["app", "--no-browser", "--host", "0.0.0.0", "--port", str(port)]
                + ["--workspace", str(tmp_path)]
            )
    told = capsys.readouterr().err
    host, chosen, browser = served[0]
    assert host == "0.0.0.0" and chosen > port and browser is False
    assert "there is no login" in told and f"port {port} is taken" in told
    assert f"http://0.0.0.0:{chosen}" in told
    with pytest.raises(SystemExit):
        cli.main(["app", "--no-browser", "--port", "0"])
    assert served[1][0] == "127.0.0.1" and "no login" not in capsys.readouterr().err


def test_the_worker_is_no_command_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    from mltwin.app import cli

    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert " app " in shown and "worker" not in shown
