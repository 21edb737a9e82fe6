"""The page in a headless browser."""

from __future__ import annotations

import shutil

import pytest

from tests.playground.test_server import PAIRS
from tokmem.playground.session import Session

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
def test_a_user_asks_adds_removes_and_saves(port: int, session: Session) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_text("2 procedures").wait_for()
        assert page.get_by_text("<b>upper</b>").count() == 1, "names are text, not markup"
        page.fill("#query", "France")
        page.press("#query", "Enter")
        page.wait_for_function("document.getElementById('without').textContent.length > 1")
        answer = session.memory.recall("France")
        assert page.inner_text("#routes li.recalled span") == answer.procedure
        assert page.inner_text("#with") == answer.response.strip()
        told = session.prompted({"query": "France", "procedure": answer.procedure})
        assert page.inner_text("#told") == told["response"].strip()
        assert f"{told['prompt_tokens']} prompt tokens" in page.inner_text("#told-size")
        assert told["told"] in page.inner_text("#told-size")
        assert page.is_hidden("#instruction"), "prompts of this bank hold the query alone"
        page.evaluate("call('state').then(state => show({...state, instructed: true}))")
        page.get_by_label("Instruction, as in the bank's training").fill("Name it.")
        page.press("#query", "Enter")
        page.wait_for_function("document.getElementById('without-size').textContent.length > 1")
        prompted = session.prompted(
            {"query": "France", "procedure": answer.procedure, "instruction": "Name it."}
        )
        assert f"{prompted['prompt_tokens']} prompt tokens" in page.inner_text("#told-size")
        page.fill("#name", "red")
        for number, pair in enumerate(PAIRS, 1):
            for what, text in zip(("query", "response"), pair, strict=True):
                page.get_by_label(f"{what} {number}").fill(text)
        page.get_by_role("button", name="Learn it").click()
        page.get_by_text("3 procedures").wait_for()
        page.get_by_role("button", name="Save the bank").click()
        page.wait_for_function("document.getElementById('save').hidden")
        assert (session.folder / "bank.json").is_file()
        page.get_by_role("button", name="Remove red").click()
        page.get_by_text("2 procedures").wait_for()
        page.fill("#name", "lonely")
        page.get_by_role("button", name="Learn it").click()
        page.get_by_text("at least two examples").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a phone need not scroll"
        assert not problems
        browser.close()
