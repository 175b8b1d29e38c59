"""Sphinx: `sphinx-build -W docs docs/_build` makes the site."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "incs-bridge"
author = "the incs-bridge authors"
release = metadata.version("incs-bridge")

extensions = [
    "myst_parser",  # the pages are Markdown
    "sphinx_copybutton",
    "sphinx_llms_txt",  # llms.txt and llms-full.txt, for whoever reads by machine
    "reference",  # beside this file: the pages that are generated
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_show_copyright = False  # LICENSE says whose it is
html_static_path: list[str] = []
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_block"]
copybutton_prompt_text = "$ "
llms_txt_summary = (
    "One model for every callback of WhatsApp, RCS and INCS, and a bus that hands each event "
    "to your code, once it is safe on disk."
)
