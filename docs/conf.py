"""Sphinx configuration. Builds without a network: nothing is fetched, no other project's index is read."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GROUNDSWELL_QUIET"] = "1"

import matplotlib  # importing it is where its fonts are looked for, which would end up as output of the first example

matplotlib.use("Agg")

project = "Groundswell"
author = "The Groundswell developers"
copyright = "The Groundswell developers"
release = version = installed_version("groundswell")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "groundswell_docs",
]
exclude_patterns = ["_build", "examples", "gallery/*.ipynb", "gallery/*.py", "gallery/sg_execution_times.rst",
                    "sg_execution_times.rst"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the types are in the class; as text they are long and no RST

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "download_all_examples": False,
    "remove_config_comments": True,
    "min_reported_time": 3600,
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": True,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "Groundswell"
html_static_path = ["_static"]
html_css_files = ["groundswell.css"]
html_copy_source = False
html_show_sourcelink = False
html_sidebars = {"index": [], "how-to-install": [], "leakage-and-controls": [], "glossary": []}
html_theme_options = {
    "logo": {"text": "Groundswell"},
    "navigation_with_keys": False,
    "show_prev_next": False,
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 7,
}
