"""marine: how simulated animals that are no fishes are drawn: urchin, crab, octopus, stars, jellyfish, turtle."""

from __future__ import annotations

import numpy as np

from groundswell.pipelines.marine.simulate.canvas import Canvas, Colour, mix, moved, shade, smooth
from groundswell.pipelines.marine.simulate.fishes import BLACK, WHITE, Look

TURN = 2 * np.pi


def draw_urchin(c: Canvas, look: Look, phase: float, colour: Colour = (86, 42, 120)) -> None:
    """A sea urchin: a ball all around with stiff pointed spines, seen from above."""
    skin = shade(colour, 0.8 + 0.45 * look[1])
    for ring, (count, reach, tone) in enumerate(((34, 0.5, 0.75), (24, 0.42, 1.15), (14, 0.26, 1.6))):
        angles = np.linspace(0, TURN, count, endpoint=False) + 0.3 * ring
        for i, angle in enumerate(angles):
            sway = 0.05 * np.sin(phase * 0.3 + 5 * look[i % 48])
            far = reach * (0.8 + 0.2 * look[(i * 5 + ring) % 48])
            out = np.array([np.cos(angle + sway), np.sin(angle + sway)])
            side = np.array([-out[1], out[0]]) * (0.02 if ring < 2 else 0.014)
            near = out * (0.16 if ring < 2 else 0.04)
            c.fill([near + side, out * far, near - side], shade(skin, tone))
            c.line([near, out * far], 0.012, shade(skin, tone), to=0.006)
        if ring == 0:
            c.dots([(0.0, 0.0)], 0.25, shade(skin, 0.6), solid=True)


def draw_purple_urchin(c: Canvas, look: Look, phase: float) -> None:
    """A purple sea urchin."""
    draw_urchin(c, look, phase)


def draw_red_urchin(c: Canvas, look: Look, phase: float) -> None:
    """A red sea urchin."""
    draw_urchin(c, look, phase, (138, 34, 44))


def draw_crab(c: Canvas, look: Look, phase: float) -> None:
    """A kelp crab: a smooth shield with corners, four pairs of long jointed legs, two slim claws."""
    shell = mix((128, 110, 38), (122, 62, 36), look[1])
    for side in (-1, 1):
        for leg in range(4):
            step = 0.03 * np.sin(phase + leg * 1.7 + (side > 0) * 1.2)
            root = np.array((0.08 - 0.075 * leg, 0.12 * side))
            knee = np.array((0.2 - 0.17 * leg + step, 0.34 * side))
            foot = np.array((0.18 - 0.24 * leg + step * 2, (0.5 - 0.03 * leg) * side))
            c.line([root, knee], 0.05, shade(shell, 0.8), to=0.042)
            c.line([knee, foot], 0.036, shade(shell, 0.95), to=0.014)
        arm = 0.03 * np.sin(phase * 0.6 + side)
        elbow, wrist = np.array((0.24, 0.26 * side)), np.array((0.38, 0.18 * side + arm))
        c.line([(0.12, 0.12 * side), elbow, wrist], 0.05, shade(shell, 0.9))
        c.fill([moved(wrist, -0.02, -0.04), moved(wrist, 0.12, -0.045 * side - 0.02), moved(wrist, 0.03, 0.0),
                moved(wrist, 0.12, 0.015), moved(wrist, -0.02, 0.045)], shade(shell, 1.1))
    outline = smooth([(0.25, 0.0), (0.2, -0.05), (0.21, -0.11), (0.08, -0.14), (0.0, -0.19), (-0.08, -0.16),
                      (-0.22, -0.09), (-0.25, 0.0), (-0.22, 0.09), (-0.08, 0.16), (0.0, 0.19), (0.08, 0.14),
                      (0.21, 0.11), (0.2, 0.05)], 4)
    c.fill(outline, shell)
    c.fill(outline * 0.72, mix(shell, WHITE, 0.16), solid=False)
    c.line([(0.02, -0.1), (0.06, 0.0), (0.02, 0.1)], 0.014, shade(shell, 0.55), solid=False)
    c.line([(-0.12, -0.07), (-0.08, 0.0), (-0.12, 0.07)], 0.012, shade(shell, 0.6), solid=False)
    c.dots([(0.22, -0.075), (0.22, 0.075)], 0.022, BLACK, solid=True)


def draw_octopus(c: Canvas, look: Look, phase: float) -> None:
    """A giant Pacific octopus: a bag of a body, eyes at its foot, eight arms that curl and show their suckers."""
    skin = mix((176, 62, 44), (150, 84, 66), look[1])
    t = np.linspace(0, 1, 15)
    for arm in range(8):
        # The middle arms first: the outer ones lie over them.
        spread = (arm - 3.5) / 3.5
        begin = 1.0 + 2.2 * (look[4 + arm] - 0.5)
        heading = np.pi / 2 - spread * 1.5 + begin * 0.25
        heading = heading + t * 1.2 * (look[14 + arm] - 0.5) + (2.6 * t**3) * np.sign(spread) * (
            0.5 + look[24 + arm]) * (1 if look[34 + arm] > 0.3 else -1) + 0.25 * t * np.sin(phase * 0.4 + arm)
        step = 0.042 * (0.85 + 0.3 * look[9 + arm])
        x, y = 0.1 * spread + np.cumsum(np.cos(heading)) * step, 0.02 + np.cumsum(np.sin(heading)) * step
        y = 0.02 + (y - 0.02) * 0.85
        line = np.stack([x, y], 1)
        c.line(line, 0.085, shade(skin, 0.78 + 0.1 * (arm % 3)), to=0.014)
        c.dots(moved(line[3:12], 0.0, 0.014), 0.011, mix(skin, WHITE, 0.6))
    puff = 0.015 * np.sin(phase * 0.5)
    bag = smooth([(0.0, 0.12), (-0.12, 0.04), (-0.11, -0.08), (-0.18 - puff, -0.24), (-0.15, -0.4), (-0.02, -0.48),
                  (0.12, -0.42), (0.17 + puff, -0.26), (0.11, -0.08), (0.12, 0.04)])
    c.fill(bag, skin)
    spots = [(0.28 * look[i] - 0.14, -0.42 * look[i + 20]) for i in range(16)]
    c.pattern(bag, [smooth([(x - 0.02, y), (x, y - 0.014), (x + 0.02, y), (x, y + 0.014)], 3) for x, y in spots],
              mix(skin, WHITE, 0.3))
    for side in (-1, 1):
        c.dots([(0.085 * side, -0.05)], 0.04, mix(skin, WHITE, 0.25), solid=True)
        c.line([(0.085 * side - 0.025, -0.055), (0.085 * side + 0.025, -0.055)], 0.02, BLACK, solid=False)


def _star(c: Canvas, look: Look, phase: float, arms: int, inner: float, blunt: float, skin: Colour) -> None:
    points, ridges = [], []
    for arm in range(arms):
        angle = TURN * arm / arms + 0.25 * (look[arm % 24] - 0.5) * 5 / arms + 0.05 * np.sin(phase * 0.15 + arm)
        reach = 0.5 - 0.06 * look[24 + arm % 24]
        half = TURN / arms / 2
        for at, far in ((angle - blunt / reach, reach * 0.93), (angle, reach), (angle + blunt / reach, reach * 0.93),
                        (angle + half, inner)):
            points.append((far * np.cos(at), far * np.sin(at)))
        ridges.append([(0.0, 0.0), (0.9 * reach * np.cos(angle), 0.9 * reach * np.sin(angle))])
    c.fill(smooth(points, 4), skin)
    for ridge in ridges:
        c.line(ridge, 0.022, shade(skin, 0.72), to=0.01, solid=False)
        ends = np.asarray(ridge)
        across = np.array([-ends[1][1], ends[1][0]]) / max(np.hypot(*ends[1]), 1e-6) * (0.055 if arms < 8 else 0.025)
        for share in np.linspace(0.15, 0.85, 6):
            foot, aside = ends[1] * share, across * (1 - 0.7 * share)
            c.dots([foot + aside, foot - aside], 0.011, mix(skin, WHITE, 0.55))
    c.dots([(0.0, 0.0)], 0.03, mix(skin, WHITE, 0.4))


def draw_sea_star(c: Canvas, look: Look, phase: float) -> None:
    """A sea star with five arms."""
    _star(c, look, phase, 5, 0.17, 0.035, mix((226, 112, 40), (190, 44, 58), look[1]))


def draw_sunflower_star(c: Canvas, look: Look, phase: float) -> None:
    """A sunflower star: a broad disc with some twenty arms."""
    _star(c, look, phase, 17 + int(6 * look[0]), 0.27, 0.016, mix((232, 138, 54), (166, 92, 150), look[1]))


def draw_jellyfish(c: Canvas, look: Look, phase: float) -> None:
    """A jellyfish: a bell that beats, frilled arms below it, long threads from its rim."""
    skin = mix((236, 176, 128), (206, 190, 236), look[1])
    beat = np.sin(phase)
    wide, rim = 0.25 + 0.025 * beat, -0.14 + 0.02 * beat
    y = np.linspace(0, 1, 14)
    for i, x in enumerate(np.linspace(-0.9, 0.9, 9)):
        drift = 0.035 * np.sin(7 * y - phase + 6 * look[i + 4]) * y
        thread = np.stack([wide * x * (1 - 0.35 * y) + drift, rim + y * (0.5 + 0.12 * look[i + 14])], 1)
        c.line(thread, 0.014, mix(skin, WHITE, 0.3), to=0.008)
    for i, x in enumerate((-0.1, -0.035, 0.035, 0.1)):
        drift = 0.04 * np.sin(9 * y - phase * 1.2 + 6 * look[i + 30]) * (0.3 + y)
        c.line(np.stack([x * (1 - 0.3 * y) + drift, rim - 0.02 + y * 0.42], 1), 0.075, shade(skin, 0.95), to=0.02)
    bell = smooth([(-wide, rim), (-0.93 * wide, rim - 0.14), (-0.6 * wide, rim - 0.27), (0.0, rim - 0.32),
                   (0.6 * wide, rim - 0.27), (0.93 * wide, rim - 0.14), (wide, rim), (0.6 * wide, rim + 0.045),
                   (0.3 * wide, rim + 0.015), (0.0, rim + 0.05), (-0.3 * wide, rim + 0.015),
                   (-0.6 * wide, rim + 0.045)])
    c.fill(bell, mix(skin, WHITE, 0.15))
    for x in np.linspace(-0.8, 0.8, 7):
        c.line([(0.15 * x * wide, rim - 0.28), (0.8 * x * wide, rim - 0.14), (x * wide, rim)], 0.014,
               shade(skin, 0.68), solid=False)
    c.line([(-0.93 * wide, rim), (0.93 * wide, rim)], 0.02, shade(skin, 0.72), solid=False)
    c.fill(smooth([(-0.09, rim - 0.17), (0.0, rim - 0.24), (0.09, rim - 0.17), (0.0, rim - 0.11)]), shade(skin, 0.72),
           solid=False)


def draw_turtle(c: Canvas, look: Look, phase: float) -> None:
    """A sea turtle from above: an oval shell of scutes, two long wings in front, two paddles behind."""
    skin = mix((96, 104, 62), (116, 96, 72), look[1])
    shell = mix((112, 82, 44), (78, 88, 48), look[2])
    beat = 0.45 * np.sin(phase * 0.6)
    for side in (-1, 1):
        angle = 1.75 + beat * 0.5
        out, along = np.array((np.cos(angle), np.sin(angle) * side)), np.array((-0.12, 0.02 * side))
        root, elbow = np.array((0.2, 0.14 * side)), np.array((0.24, 0.16 * side)) + 0.14 * out
        tip = elbow + 0.24 * np.array((np.cos(angle + 0.35), np.sin(angle + 0.35) * side))
        wing = np.array([moved(root, 0.05, 0.0), moved(elbow, 0.05, 0.0), tip, elbow + along, moved(root, -0.06, 0.0)])
        c.fill(smooth(wing, 5), skin)
        c.dots([elbow + (tip - elbow) * share + (-0.01, 0.0) for share in (0.0, 0.25, 0.5, 0.7)], 0.022,
               shade(skin, 0.6))
        kick = 0.05 * np.sin(phase * 0.6 + 1.5)
        c.fill(smooth([(-0.2, 0.1 * side), (-0.34, 0.17 * side), (-0.47, 0.16 * side + kick), (-0.37, 0.08 * side)]),
               shade(skin, 0.95))
    c.fill([(-0.34, -0.03), (-0.43, 0.0), (-0.34, 0.03)], skin)
    c.fill(smooth([(0.28, -0.05), (0.4, -0.07), (0.49, -0.035), (0.5, 0.0), (0.49, 0.035), (0.4, 0.07), (0.28, 0.05)]),
           skin)
    outline = smooth([(0.31, 0.0), (0.25, -0.16), (0.08, -0.24), (-0.12, -0.22), (-0.3, -0.1), (-0.37, 0.0),
                      (-0.3, 0.1), (-0.12, 0.22), (0.08, 0.24), (0.25, 0.16)])
    c.fill(outline, shade(shell, 0.6))
    c.fill(outline * 0.9, shell, solid=False)
    line = shade(shell, 0.45)
    ridge = [(0.28, 0.0), (0.18, -0.07), (0.06, -0.085), (-0.08, -0.08), (-0.22, -0.055), (-0.33, 0.0)]
    c.line(ridge, 0.012, line, solid=False)
    c.line([(x, -y) for x, y in ridge], 0.012, line, solid=False)
    for x, y in ridge[1:-1]:
        c.line([(x + 0.02, y * 2.6), (x, y), (x, -y), (x + 0.02, -y * 2.6)], 0.012, line, solid=False)
    c.dots([(0.42, -0.045), (0.42, 0.045)], 0.014, BLACK)
    c.dots([(0.34, 0.0), (0.38, 0.0)], 0.014, shade(skin, 0.6))
