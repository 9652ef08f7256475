"""The file: whole, without a door to the network, and without holes for text from files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from contracts.made_run import made_run

from ecad.report.page.build import folder_content, write_page
from ecad.report.page.content import Content

pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
html = pytest.importorskip("ecad.report.page.html")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("page") / "run")


@pytest.fixture(scope="module")
def content(folder: Path) -> Content:
    return folder_content(folder)


def test_only_its_own_scripts_may_run_and_nothing_is_loaded(folder: Path) -> None:
    text = write_page(folder).read_text(encoding="utf-8")
    assert len(text.encode()) < 3_000_000
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="([^"]*)"', outside) == ["data:,", "#rows", "#"]


def test_a_live_page_may_ask_its_own_server_only(content: Content) -> None:
    assert "connect-src &#39;self&#39;;" in html.page_html(content, live="1")


def test_text_of_files_is_text(content: Content) -> None:
    evil = "</script><script>alert(1)</script><b>\u2028"
    marks = [
        replace(content.marks[0], name=evil, cells=[evil, *content.marks[0].cells[1:]]),
        *content.marks[1:],
    ]
    text = html.page_html(replace(content, title=evil, samples=[evil], marks=marks))
    assert "<script>alert" not in text
    [data] = re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)
    parsed = json.loads(data)
    assert parsed["samples"] == [evil]
    assert parsed["marks"][0]["name"] == evil
