"""A report as one HTML page that needs no other file.

Knows the template beside it. Does not know what the figures say.
"""

from __future__ import annotations

from collections.abc import Iterable

import jinja2
from markupsafe import Markup

import tfcompress
from tfcompress.report import drawing
from tfcompress.report.contents import Contents
from tfcompress.report.figures import Drawn

TEMPLATE = "report.html.j2"


def render(parts: Contents, figures: Iterable[Drawn]) -> str:
    """The text of `report.html`: figures inline, light or dark as the reader's system asks.

    Args:
      parts: of the report; every text in it is escaped.
      figures: drawn at both widths.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfcompress.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        parts=parts,
        figures={figure.name: _on_page(figure) for figure in figures},
        version=tfcompress.__version__,
    )


def _on_page(figure: Drawn) -> dict[str, str | Markup]:
    # The SVG comes from matplotlib, which escapes the names in it.
    return {
        "name": figure.name,
        "title": figure.title,
        "description": figure.description,
        "wide": Markup(drawing.for_page(figure.wide)),
        "narrow": Markup(drawing.for_page(figure.narrow)),
    }
