"""marine: how simulated fishes are drawn: lionfish, sheepshead, snapper, grouper, any fish, eel, shark, seahorse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from groundswell.pipelines.marine.simulate.canvas import Canvas, Colour, Floats, mix, moved, shade, smooth

WHITE: Colour = (236.0, 232.0, 222.0)
BLACK: Colour = (22.0, 22.0, 24.0)
Look = Sequence[float]
"""Numbers from 0 to 1 by which individuals differ."""


@dataclass(frozen=True)
class FishForm:
    """What makes a fish its own: depth of the body, fins, tail and colours.

    ``dorsal`` and ``anal`` are polygons' free edges, from front to back; ``fork`` is how far the tail's middle is cut
    in.
    """

    depth: float
    body: Colour
    fin: Colour
    belly: Colour
    dorsal: tuple[tuple[float, float], ...]
    anal: tuple[tuple[float, float], ...]
    fork: float
    tail: float
    pattern: Callable[[Canvas, Look, FishForm, Floats, Colour], None]


def _outline(depth: float) -> Floats:
    return smooth([(0.5, 0.01), (0.4, -0.5 * depth), (0.2, -0.95 * depth), (-0.02, -0.9 * depth), (-0.2, -0.5 * depth),
                   (-0.33, -0.035), (-0.33, 0.035), (-0.2, 0.5 * depth), (0.02, depth), (0.24, 0.98 * depth),
                   (0.42, 0.45 * depth)])


def draw_fish(c: Canvas, look: Look, phase: float, form: FishForm) -> None:
    """A fish from its side; its tail beats towards and away from the viewer, so that it looks shorter and longer."""
    depth = form.depth * (0.9 + 0.2 * look[0])
    body = shade(form.body, 0.85 + 0.3 * look[1])
    fin = shade(form.fin, 0.85 + 0.3 * look[1])
    beat = 0.8 + 0.2 * np.sin(phase)
    tail = np.array([(-0.3, -0.03), (-0.4, -0.6 * form.tail), (-0.5, -form.tail), (-0.5 + form.fork, 0.0),
                     (-0.5, form.tail), (-0.4, 0.6 * form.tail), (-0.3, 0.03)])
    tail[:, 0] = -0.3 + (tail[:, 0] + 0.3) * beat
    c.fill(tail, fin)
    for end in np.linspace(-0.8, 0.8, 7):
        c.line([(-0.3, 0.02 * end), (-0.3 - 0.17 * beat, form.tail * end)], 0.004, shade(fin, 0.75), solid=False)
    for edge in (form.dorsal, form.anal):
        base = [(edge[-1][0], 0.0), (edge[0][0], 0.0)]
        c.fill([*edge, *base], fin)
        for x, y in edge[1:-1]:
            c.line([(x + 0.03, 0.3 * y), (x, y)], 0.006, shade(fin, 0.7), solid=False)
    outline = _outline(depth)
    c.fill(outline, body)
    under = np.array([(0.5, 0.25 * depth), (0.2, 0.35 * depth), (-0.1, 0.35 * depth), (-0.35, 0.01), (-0.2, depth),
                      (0.0, 1.3 * depth), (0.3, 1.3 * depth), (0.5, 0.8 * depth)])
    c.pattern(outline, [smooth(under)], mix(body, form.belly, 0.75))
    form.pattern(c, look, form, outline, body)
    _face(c, depth, body)
    flap = 0.03 * np.sin(phase * 0.7)
    c.fill(smooth([(0.2, 0.2 * depth), (0.08, 0.15 * depth + flap), (0.02, 0.5 * depth + flap), (0.14, 0.5 * depth)]),
           shade(fin, 0.9))


def _face(c: Canvas, depth: float, body: Colour) -> None:
    c.line([(0.25, -0.55 * depth), (0.215, 0.0), (0.25, 0.55 * depth)], 0.01, shade(body, 0.55), solid=False)
    c.line([(0.49, 0.12 * depth), (0.43, 0.2 * depth)], 0.01, shade(body, 0.4), solid=False)
    c.dots([(0.365, -0.22 * depth)], 0.03, WHITE)
    c.dots([(0.37, -0.22 * depth)], 0.019, BLACK)


def _blotches(c: Canvas, look: Look, form: FishForm, outline: Floats, body: Colour) -> None:
    spots = [(-0.28 + 0.5 * look[4 + i], form.depth * (1.4 * look[20 + i] - 0.8)) for i in range(14)]
    shapes = [smooth([(x - 0.045, y), (x, y - 0.03), (x + 0.04, y + 0.008), (x, y + 0.035)]) for x, y in spots]
    c.pattern(outline, shapes, shade(body, 0.55))


def _thirds(c: Canvas, look: Look, form: FishForm, outline: Floats, body: Colour) -> None:
    dark = (38.0, 32.0, 38.0)
    head = [(0.6, -0.4), (0.2, -0.4), (0.24, 0.0), (0.2, 0.4), (0.6, 0.4)]
    c.pattern(outline, [head, [(-0.15, -0.4), (-0.11, 0.0), (-0.15, 0.4), (-0.6, 0.4), (-0.6, -0.4)]], dark)
    c.pattern(outline, [[(0.6, 0.3 * form.depth), (0.36, 0.4 * form.depth), (0.28, 1.3 * form.depth), (0.6, 0.4)]],
              WHITE)


def _plain(c: Canvas, look: Look, form: FishForm, outline: Floats, body: Colour) -> None:
    c.line([(0.22, -0.25 * form.depth), (-0.05, -0.2 * form.depth), (-0.32, 0.0)], 0.008, shade(body, 0.7), solid=False)


def _stripe(c: Canvas, look: Look, form: FishForm, outline: Floats, body: Colour) -> None:
    c.pattern(outline, [[(0.5, -0.25 * form.depth), (-0.4, -0.02), (-0.4, 0.03), (0.5, 0.05 * form.depth)]],
              (60.0, 70.0, 92.0) if look[3] < 0.5 else (226.0, 190.0, 70.0))


SHEEPSHEAD = FishForm(0.2, (190, 62, 52), (44, 36, 42), (200, 96, 84),
                      ((0.2, -0.16), (0.1, -0.25), (-0.05, -0.24), (-0.2, -0.2), (-0.27, -0.05)),
                      ((-0.02, 0.15), (-0.1, 0.23), (-0.2, 0.19), (-0.26, 0.04)), 0.03, 0.15, _thirds)
SNAPPER = FishForm(0.19, (222, 82, 70), (208, 66, 58), (244, 190, 176),
                   ((0.2, -0.15), (0.14, -0.29), (0.0, -0.25), (-0.12, -0.21), (-0.22, -0.2), (-0.27, -0.05)),
                   ((-0.02, 0.15), (-0.08, 0.24), (-0.2, 0.15), (-0.25, 0.04)), 0.08, 0.18, _plain)
GROUPER = FishForm(0.21, (136, 112, 84), (112, 92, 70), (188, 168, 138),
                   ((0.22, -0.15), (0.16, -0.27), (0.0, -0.25), (-0.14, -0.25), (-0.24, -0.19), (-0.28, -0.05)),
                   ((-0.04, 0.15), (-0.12, 0.26), (-0.22, 0.2), (-0.26, 0.04)), 0.0, 0.14, _blotches)
ANY_FISH = FishForm(0.12, (158, 170, 180), (120, 132, 144), (228, 230, 230),
                    ((0.12, -0.1), (0.04, -0.2), (-0.06, -0.14), (-0.1, -0.06)),
                    ((-0.06, 0.08), (-0.1, 0.16), (-0.2, 0.08), (-0.24, 0.02)), 0.12, 0.18, _stripe)


def draw_lionfish(c: Canvas, look: Look, phase: float) -> None:
    """A red lionfish: long separate spines on its back, fans of long rays at its sides, stripes all over."""
    red = shade((158, 52, 40), 0.85 + 0.35 * look[1])
    light = mix(WHITE, red, 0.12)
    sway = 0.035 * np.sin(phase * 0.5)
    for i, x in enumerate(np.linspace(0.26, -0.16, 12)):
        tip = np.array((x - 0.1 - 0.012 * i + sway, -0.44 + 0.16 * abs(i - 4.5) / 6 + 0.03 * look[6 + i]))
        foot = np.array((x, -0.09))
        c.fill([foot, foot - (0.03, 0.0), 0.55 * foot + 0.45 * tip], mix(red, light, 0.35))
        _banded(c, foot, tip, 0.018, red, light, 5)
    spread = 0.5 + 0.08 * np.sin(phase * 0.4)
    _fan(c, (-0.26, 0.0), np.linspace(np.pi - spread, np.pi + spread, 7), 0.24, red, light, 0.9)
    _fan(c, (-0.14, 0.1), np.linspace(1.6, 2.5, 5), 0.2, red, light, 0.7)
    outline = smooth([(0.46, 0.03), (0.4, -0.08), (0.22, -0.14), (0.0, -0.13), (-0.2, -0.06), (-0.29, -0.03),
                      (-0.29, 0.03), (-0.18, 0.08), (0.05, 0.14), (0.28, 0.13), (0.42, 0.1)])
    c.fill(outline, light)
    stripes = []
    for i, x in enumerate(np.linspace(0.4, -0.27, 11)):
        wide = 0.02 if i % 2 else 0.034
        stripes.append([(x, -0.2), (x + 0.02, 0.0), (x - 0.015, 0.2), (x - wide - 0.015, 0.2), (x + 0.02 - wide, 0.0),
                        (x - wide, -0.2)])
    c.pattern(outline, stripes, red)
    for side in (0.0, 0.55):
        angles = np.linspace(0.75, 2.75, 9) + side * 0.3 + 0.12 * np.sin(phase * 0.4)
        _fan(c, (0.16 - 0.05 * side, 0.05), angles, 0.4 - 0.1 * side, red, light, 0.55)
    c.line([(0.4, -0.07), (0.43, -0.15)], 0.018, red, to=0.01)
    c.line([(0.45, 0.06), (0.47, 0.12)], 0.016, red, to=0.01)
    c.dots([(0.36, -0.025)], 0.03, light)
    c.dots([(0.36, -0.025)], 0.02, BLACK)


def _banded(c: Canvas, foot: Floats, tip: Floats, width: float, one: Colour, other: Colour, bands: int) -> None:
    c.line(foot + (tip - foot) * np.linspace(0, 1, bands + 1)[:, None], width, one, to=0.45 * width, other=other)


def _fan(c: Canvas, foot: tuple[float, float], angles: Floats, length: float, one: Colour, other: Colour,
         web: float) -> None:
    """Rays out of one point with skin between them up to ``web`` of their length."""
    root = np.asarray(foot)
    tips = root + length * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    c.fill(np.concatenate([root[None], root + (tips - root) * web]), mix(one, other, 0.45))
    for tip in tips:
        _banded(c, root, tip, 0.016, one, other, 4)


def draw_eel(c: Canvas, look: Look, phase: float) -> None:
    """A moray eel: a long body in waves with a fin along its back, speckled."""
    skin = mix((118, 122, 52), (108, 78, 52), look[1])
    x = np.linspace(0.5, -0.5, 44)
    wave = 0.075 * (0.35 + 0.65 * (0.5 - x)) * np.sin(9.5 * (0.5 - x) - phase)
    half = np.interp(x, [-0.5, -0.3, 0.2, 0.36, 0.46, 0.5], [0.004, 0.035, 0.052, 0.058, 0.04, 0.022])
    middle = np.stack([x, wave], axis=1)
    top, bottom = middle - np.stack([0 * x, half], 1), middle + np.stack([0 * x, half], 1)
    fin = middle[14:] - np.stack([0 * x, half + 0.032 * np.minimum(1, np.arange(44) / 40 + 0.35)], 1)[14:]
    c.fill(np.concatenate([fin, middle[14:][::-1]]), shade(skin, 0.7))
    outline = np.concatenate([top, bottom[::-1]])
    c.fill(outline, skin)
    c.pattern(outline, [np.concatenate([moved(middle, 0, 0.02), moved(bottom[::-1], 0, 0.02)])], mix(skin, WHITE, 0.35))
    for i in range(40):
        at = int(43 * look[i % 48])
        c.dots([(x[at], wave[at] + half[at] * (1.5 * look[(i * 7 + 3) % 48] - 0.9))], 0.009 + 0.006 * look[i % 13],
               shade(skin, 0.55) if i % 3 else mix(skin, WHITE, 0.5))
    gape = 0.012 + 0.012 * np.sin(phase * 0.5)
    c.fill([(0.505, wave[0] + 0.004), (0.42, wave[3] + 0.014), (0.49, wave[0] + 0.01 + gape)], (54, 20, 24),
           solid=False)
    c.dots([(0.44, wave[2] - 0.022)], 0.013, WHITE)
    c.dots([(0.442, wave[2] - 0.022)], 0.008, BLACK)


def draw_shark(c: Canvas, look: Look, phase: float) -> None:
    """A shark: a spindle with a pointed snout, one tall fin, long side fins and a tail whose upper lobe is longer."""
    grey = mix((92, 104, 116), (110, 100, 88), look[1])
    beat = 0.78 + 0.22 * np.sin(phase)
    tail = np.array([(-0.33, -0.02), (-0.42, -0.12), (-0.5, -0.25), (-0.43, -0.05), (-0.46, 0.1), (-0.38, 0.04),
                     (-0.33, 0.02)])
    tail[:, 0] = -0.33 + (tail[:, 0] + 0.33) * beat
    c.fill(tail, shade(grey, 0.85))
    c.fill([(0.12, -0.09), (0.05, -0.18), (-0.02, -0.25), (-0.02, -0.17), (-0.05, -0.07)], shade(grey, 0.85))
    c.fill([(-0.2, -0.045), (-0.26, -0.085), (-0.27, -0.03)], shade(grey, 0.8))
    c.fill([(-0.16, 0.04), (-0.24, 0.1), (-0.23, 0.03)], shade(grey, 0.8))
    flap = 0.015 * np.sin(phase * 0.5)
    outline = smooth([(0.5, -0.025), (0.4, -0.065), (0.22, -0.1), (0.02, -0.1), (-0.2, -0.05), (-0.35, -0.018),
                      (-0.35, 0.018), (-0.2, 0.045), (0.02, 0.085), (0.22, 0.085), (0.38, 0.06), (0.46, 0.015)])
    c.fill(outline, grey)
    c.pattern(outline, [[(0.5, 0.0), (0.3, 0.025), (0.0, 0.03), (-0.35, 0.005), (-0.35, 0.2), (0.5, 0.2)]], WHITE)
    c.fill([(0.2, 0.04), (0.13, 0.12 + flap), (0.0, 0.22 + flap), (0.04, 0.12 + flap), (0.07, 0.05)], shade(grey, 0.72))
    for x in (0.22, 0.245, 0.27, 0.295):
        c.line([(x, -0.045), (x - 0.012, 0.03)], 0.007, shade(grey, 0.45), solid=False)
    c.line([(0.45, 0.024), (0.39, 0.045)], 0.008, shade(grey, 0.4), solid=False)
    c.dots([(0.405, -0.025)], 0.0115, BLACK)


def draw_seahorse(c: Canvas, look: Look, phase: float) -> None:
    """A seahorse, upright: a horse's head with a tube for a snout, a ringed trunk, a rolled-up tail."""
    skin = mix((214, 160, 54), (148, 92, 60), look[1])
    t = np.linspace(0, 1, 26)
    roll = t**2 * (5.6 + 0.3 * np.sin(phase * 0.4))
    radius = 0.12 * (1 - 0.75 * t)
    middle = np.array([0.02, 0.32])
    tail = np.stack([middle[0] - 0.12 + 0.12 + radius * np.sin(roll + 2.6), middle[1] + radius * np.cos(roll + 2.6)], 1)
    trunk = smooth([(0.02, -0.33), (0.1, -0.2), (0.15, -0.06), (0.11, 0.1), (0.07, 0.24), (-0.01, 0.24), (-0.04, 0.1),
                    (-0.06, -0.06), (-0.06, -0.2)])
    ripple = 0.02 * np.sin(phase * 2)
    c.fill([(-0.04, -0.1), (-0.17, -0.12 + ripple), (-0.18, 0.03 - ripple), (-0.04, 0.06)], mix(skin, WHITE, 0.35))
    c.line(np.concatenate([[(0.03, 0.2)], tail]), 0.085, skin, to=0.02)
    c.fill(trunk, skin)
    for y in np.linspace(-0.2, 0.22, 10):
        c.line([(-0.06, y), (0.14, y + 0.02)], 0.008, shade(skin, 0.65), solid=False)
    c.line([(0.02, -0.28), (0.05, -0.38)], 0.12, skin, to=0.13)
    c.fill(smooth([(-0.04, -0.36), (0.0, -0.46), (0.09, -0.45), (0.13, -0.38), (0.08, -0.32)]), skin)
    c.line([(0.1, -0.385), (0.25, -0.345)], 0.05, skin, to=0.045)
    for x, y in ((-0.02, -0.5), (0.02, -0.52), (0.06, -0.49)):
        c.line([(0.02, -0.43), (x, y)], 0.025, shade(skin, 0.8), to=0.015)
    c.dots([(0.075, -0.4)], 0.022, WHITE)
    c.dots([(0.078, -0.4)], 0.014, BLACK)
