"""How Sphinx builds the site of these pages: `make docs`.

The pages are plain Markdown that reads well in the repository, too. `extensions/` does the rest: navigation from the
lists that the pages have, formulas as MathML, and docstrings as Sphinx wants them.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "extensions")]

import distes  # noqa: E402

project, author = "distes", "the authors of distes"
version = release = distes.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "sphinx_copybutton"]
extensions += ["mathml", "navigation", "repository_links", "docstrings"]  # of docs/extensions/
root_doc = "README"
exclude_patterns = ["_build", "extensions"]

nb_execution_mode = "off"  # notebooks are kept with their output
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

highlight_language = "text"  # of blocks that name none, such as formulas in docstrings

html_theme = "furo"
html_title = f"distes {version}"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"

default_role = "py:obj"  # `Name` in a docstring is a link where there is such a name, and code where there is none
autoclass_content = "both"  # what a class is, and the arguments of its constructor
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
