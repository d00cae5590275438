"""Every symbol once: meaning, range, source. The notation table of the README is printed from here."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NOTATION", "Notation", "markdown_table"]


@dataclass(frozen=True)
class Notation:
    """One symbol: LaTeX, its name in code, what it means, the values it takes, where it comes from."""

    latex: str
    code: str
    meaning: str
    range: str
    source: str = ""


#: S1: Soletskyi, Gabrié, Loureiro, MLST 6 025056 (2025), arXiv 2410.13300.
#: S2: Blessing, Jia, Neumann, arXiv 2503.00524 (ICLR 2025).
NOTATION = (
    Notation(r"d", "d", "dimension of the space", r"$1, 2, \dots$"),
    Notation(r"q=\sum_k w_k N(\mu_k, vI)", "q", "variational family, learned; components k, j, i", r"$k=1..K$", "S1"),
    Notation(r"p=\sum_l \pi_l N(\nu_l, uI)", "p", "target, fixed; modes l, n", r"$l=1..L$", "S1"),
    Notation(r"\mu_k,\ \nu_l", "mu, nu", "mean vectors of q and of p", r"$\mathbb R^d$"),
    Notation(r"w_k,\ \pi_l", "w, pi", "weights of q and of p", r"$>0$, sum to 1"),
    Notation(r"\theta_k", "theta", r"log-weights up to a constant, $w=\mathrm{softmax}\,\theta$", r"$\mathbb R$"),
    Notation(r"v,\ u", "v, u", "variance of every component of q, of every mode of p", r"$>0$"),
    Notation(
        r"v_k,\ u_l",
        "v, u",
        "variances of component k, of mode l, where they differ or are learned as $\\log v_k$",
        r"$>0$",
    ),
    Notation(
        r"\mathsf{M}_k,\ \mathsf{W}_k,\ \mathsf{V}_k",
        "rate_means, rate_weights, rate_variances",
        r"rates of a metric: $w_k^{p-a}$ where a slope is $w_k^p\,g_k$ and the metric divides by $w_k^a$",
        r"$\ge 0$",
    ),
    Notation(r"s_{kj}=\mu_k\cdot\mu_j", "s", "overlaps within q", r"$\mathbb R$, not divided by d", "S1"),
    Notation(r"m_{kl}=\mu_k\cdot\nu_l", "m", "overlaps of q with p", r"$\mathbb R$, not divided by d", "S1"),
    Notation(r"c_{il}=\nu_i\cdot\nu_l", "c", "overlaps within p, constant", r"$\mathbb R$, not divided by d", "S1"),
    Notation(r"E_k[\cdot]", "expect", r"expectation over $x\sim N(\mu_k, vI)$", ""),
    Notation(r"E^+_k[\cdot]", "", r"$E_k$ with two more coordinates of $x$, in which all means are zero", ""),
    Notation(r"r_j(x),\ \rho_l(x)", "", "responsibilities of q's components, of p's modes, at x", r"$(0,1)$"),
    Notation(r"A_{kj}=E_k[r_j]", "A", "mean responsibility of component j under component k", r"$(0,1)$"),
    Notation(r"B_{kl}=E_k[\rho_l]", "B", "mean responsibility of mode l under component k", r"$(0,1)$"),
    Notation(
        r"H_{kji}=E^+_k[r_j(\delta_{ji}-r_i)]",
        "H",
        r"mean slope of responsibility $j$ in logit $i$; $J_{kln}$ for modes",
        "",
    ),
    Notation(
        r"Y_{kj}=E_k[r_j|x-\mu_k|^2]", "Y", r"responsibility weighted by squared distance; $Z_{kl}$ for modes", ""
    ),
    Notation(r"F_k=E_k[\log q-\beta\log p]", "F", "free energy of component k", "nats"),
    Notation(r"D=\sum_k w_kF_k", "objective", "KL(q‖p) at β = 1, the objective", r"nats, $\ge 0$"),
    Notation(r"\beta=1/T", "beta", r"inverse temperature: the target is $p^\beta$", r"$>0$"),
    Notation(r"E_l[\cdot]", "", r"expectation over $x\sim N(\nu_l, uI)$, for the forward KL", ""),
    Notation(
        r"P_{lk}=E_l[r_k],\ PP_{lkj}=E_l[r_kr_j]", "P, PP", "the same under mode l; products by two letters", r"$(0,1)$"
    ),
    Notation(r"G_l=E_l[\log p-\log q]", "G", "share of mode l in KL(p‖q)", "nats"),
    Notation(r"\eta,\ N", "step, size", "learning rate and samples of each component a step, finite batches", r"$>0$"),
    Notation(r"\Gamma_{ki}=\dot\mu_k\cdot\mu_i", "gamma", r"half of $\dot s=\Gamma+\Gamma^T$", ""),
    Notation(r"\hat\pi_l=\sum_k w_kB_{kl}", "mode_mass", "mass of q on mode l", r"$(0,1)$, sums to 1"),
    Notation(r"R=|\nu|", "separation", r"two modes at $\pm\nu$: half their distance", "units of the mode width"),
    Notation(r"\varphi=\sum_k\alpha_kN(\mu_k,v_kI)", "prior", "prior of a diffusion sampler: its family", "", "S2"),
    Notation(
        r"N,\ T=\sum_n\eta_n", "steps, horizon, eta", "steps of a sampler, their total and single lengths", "", "S2"
    ),
    Notation(r"\log W", "log_weight", "log-weight of a path, $E\\,W=Z$", "nats", "S2"),
    Notation(
        r"x_b,\ \varrho=|x_\perp|^2", "x, rho", "coordinates in the span of all means; the rest", "length, length²"
    ),
)


def markdown_table() -> str:
    """The table as Markdown."""
    rows = ["| symbol | code | meaning | range | source |", "|---|---|---|---|---|"]
    for n in NOTATION:
        code = f"`{n.code}`" if n.code else ""
        latex = n.latex.replace("|", r"\vert ")
        rows.append(f"| ${latex}$ | {code} | {n.meaning} | {n.range} | {n.source} |")
    return "\n".join(rows) + "\n"
