"""What every figure is asked for: nothing is cut off at the edges of the page."""

from __future__ import annotations

from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["drawn_whole"]


def drawn_whole(drawing: Figure) -> RendererBase:
    """Draw a figure, with all axes and legends within its page; what it is drawn by, for other boxes."""
    canvas = FigureCanvasAgg(drawing)
    canvas.draw()
    renderer, page = canvas.get_renderer(), drawing.bbox
    legends = [*drawing.legends, *(legend for ax in drawing.axes if (legend := ax.get_legend()))]
    for artist in (*drawing.axes, *legends):
        box = artist.get_tightbbox(renderer)
        assert box is not None, artist
        assert page.x0 <= box.x0 < box.x1 <= page.x1, artist
        assert page.y0 <= box.y0 < box.y1 <= page.y1, artist
    return renderer
