"""Runge–Kutta and Rosenbrock methods as data: numbers, orders, sources; what is cheap to check is checked at once.

The kernels of explicit.py and rosenbrock.py work with any method of the same shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DOP853", "RODAS5P", "Explicit", "Rosenbrock"]

Array = NDArray[np.float64]


def rows(text: str) -> list[Array]:
    """Numbers separated by white space, rows by semicolons."""
    return [np.array(row.split(), dtype=float) for row in text.split(";")]


def lower(text: str) -> Array:
    """The square matrix with these rows below its diagonal; the first row of the matrix is empty."""
    below = rows(text)
    out = np.zeros((len(below) + 1, len(below) + 1))
    for i, row in enumerate(below, start=1):
        out[i, : len(row)] = row
    return out


@dataclass(frozen=True)
class Explicit:
    """Explicit method k_i = f(y + h Σ_j a_ij k_j) for y' = f(y), S stages and further ones for dense output.

    Stage S (from zero) is the end of the step: its argument is the result, and its value the first stage of the next
    step. The stages after it serve the dense output only.

    Error of a step: with e_m = h Σ_i error_m,i k_i, the number e_0² / √(e_0² + 0.01 e_1²), of order h^error_order.
    Dense output: y(t + θh) = y + θ(F_0 + (1−θ)(F_1 + θ(F_2 + (1−θ)(F_3 + ...)))), F = h · dense @ k.
    """

    name: str
    order: int
    error_order: int
    dense_order: int
    stages: int
    a: Array
    errors: Array
    dense: Array
    stability: float
    """Largest h|λ| on the negative real axis for which the method is stable."""

    def __post_init__(self) -> None:
        total, S = len(self.a), self.stages
        assert self.a.shape == (total, total)
        assert self.errors.shape == (2, S)
        assert self.dense.shape[1] == total
        assert not np.triu(self.a).any(), "explicit"
        assert abs(self.a[S].sum() - 1) < 1e-14, "consistent"
        assert np.abs(self.errors.sum(axis=1)).max() < 1e-14, "no error at rest"
        assert np.abs(self.dense[0] - self.a[S]).max() < 1e-14, "the dense output ends at the result"

    def weights(self, theta: float) -> Array:
        """b(θ) with y(t + θh) = y + h Σ_i b_i k_i, shape (all stages,)."""
        out = np.zeros(len(self.a))
        for i in reversed(range(len(self.dense))):
            out = (out + self.dense[i]) * (1 - theta if i % 2 else theta)
        return out


@dataclass(frozen=True)
class Rosenbrock:
    """Rosenbrock method with the exact Jacobian J of y' = f(y), S stages, in the form that multiplies no matrix:

        (1/(hγ) − J) k_i = f(y + Σ_j a_ij k_j) + Σ_j c_ij k_j / h,        j < i

    Stiffly accurate: the argument of the last stage is the embedded result, the last k_i is the estimated error, and
    their sum is the result. Dense output: y(t + θh) = (1−θ) y + θ(y₁ + (1−θ)(H_0 + θ(H_1 + θ H_2))), H = dense @ k.
    """

    name: str
    order: int
    error_order: int
    dense_order: int
    gamma: float
    a: Array
    c: Array
    dense: Array

    def __post_init__(self) -> None:
        S = self.stages
        assert self.a.shape == self.c.shape == (S, S)
        assert self.dense.shape[1] == S
        assert not np.triu(np.abs(self.a) + np.abs(self.c)).any(), "strictly lower triangular"
        assert abs(self.weights.sum() - 1) < 1e-13, "consistent"
        assert abs(self.amplification(np.inf)) < 1e-12, "L-stable"

    @property
    def stages(self) -> int:
        return len(self.a)

    @property
    def increments(self) -> Array:
        """m with y₁ = y + Σ_i m_i k_i."""
        return np.append(self.a[-1, :-1], 1.0)

    @property
    def classical(self) -> tuple[Array, Array]:
        """α, Γ of the classical form l_i = h f(y + Σ α_ij l_j) + h J Σ Γ_ij l_j, to which k = Γ l."""
        gammas = np.linalg.inv(np.eye(self.stages) / self.gamma - self.c).astype(np.float64)
        return self.a @ gammas, gammas

    @property
    def weights(self) -> Array:
        """b of the classical form, y₁ = y + Σ_i b_i l_i."""
        b: Array = self.increments @ self.classical[1]
        return b

    def amplification(self, z: complex) -> complex:
        """R(z): the result of one step for y' = λy, z = hλ, from 1; any infinite z stands for the limit."""
        alpha, gammas = self.classical
        # 1 + z b (1 − zβ)^{-1} 1, divided through by z where that is large.
        near, far = (1.0, z) if abs(z) < 1 else ((0.0 if np.isinf(z) else 1 / z), 1.0)
        matrix = near * np.eye(self.stages) - far * (alpha + gammas)
        return complex(1 + far * self.weights @ np.linalg.solve(matrix, np.ones(self.stages)))


# Dormand and Prince 8(5,3) with dense output of order 7: Hairer, Nørsett, Wanner, Solving Ordinary Differential
# Equations I, sections II.5 and II.6; the numbers are those of Hairer's dop853.f. Chosen by measurement: at an achieved
# error of 1e-8 it needs fewer right-hand sides than Tsit5, Vern6 and Vern7.
DOP853 = Explicit(
    name="DOP853",
    order=8,
    error_order=8,
    dense_order=7,
    stages=12,
    stability=6.1,
    a=lower(
        """
        0.05260015195876773;
        0.0197250569845379 0.0591751709536137;
        0.02958758547680685 0 0.08876275643042054;
        0.2413651341592667 0 -0.8845494793282861 0.924834003261792;
        0.037037037037037035 0 0 0.17082860872947386 0.12546768756682242;
        0.037109375 0 0 0.17025221101954405 0.06021653898045596 -0.017578125;
        0.03709200011850479 0 0 0.17038392571223998 0.10726203044637328 -0.015319437748624402
            0.008273789163814023;
        0.6241109587160757 0 0 -3.3608926294469414 -0.868219346841726 27.59209969944671 20.154067550477894
            -43.48988418106996;
        0.47766253643826434 0 0 -2.4881146199716677 -0.590290826836843 21.230051448181193 15.279233632882423
            -33.28821096898486 -0.020331201708508627;
        -0.9371424300859873 0 0 5.186372428844064 1.0914373489967295 -8.149787010746927 -18.52006565999696
            22.739487099350505 2.4936055526796523 -3.0467644718982196;
        2.273310147516538 0 0 -10.53449546673725 -2.0008720582248625 -17.9589318631188 27.94888452941996
            -2.8589982771350235 -8.87285693353063 12.360567175794303 0.6433927460157636;
        0.054293734116568765 0 0 0 0 4.450312892752409 1.8915178993145003 -5.801203960010585 0.3111643669578199
            -0.1521609496625161 0.20136540080403034 0.04471061572777259;
        0.056167502283047954 0 0 0 0 0 0.25350021021662483 -0.2462390374708025 -0.12419142326381637
            0.15329179827876568 0.00820105229563469 0.007567897660545699 -0.008298;
        0.03183464816350214 0 0 0 0 0.028300909672366776 0.053541988307438566 -0.05492374857139099 0 0
            -0.00010834732869724932 0.0003825710908356584 -0.00034046500868740456 0.1413124436746325;
        -0.42889630158379194 0 0 0 0 -4.697621415361164 7.683421196062599 4.06898981839711 0.3567271874552811 0
            0 0 -0.0013990241651590145 2.9475147891527724 -9.15095847217987
        """
    ),
    errors=np.array(
        rows(
            """
        0.01312004499419488 0 0 0 0 -1.2251564463762044 -0.4957589496572502 1.6643771824549864
            -0.35032884874997366 0.3341791187130175 0.08192320648511571 -0.022355307863886294;
        -0.18980075407240762 0 0 0 0 4.450312892752409 1.8915178993145003 -5.801203960010585 -0.4226823213237919
            -0.1521609496625161 0.20136540080403034 0.02265179219836082
        """
        )
    ),
    dense=np.array(
        rows(
            """
        0.054293734116568765 0 0 0 0 4.450312892752409 1.8915178993145003 -5.801203960010585 0.3111643669578199
            -0.1521609496625161 0.20136540080403034 0.04471061572777259 0 0 0 0;
        0.9457062658834312 0 0 0 0 -4.450312892752409 -1.8915178993145003 5.801203960010585 -0.3111643669578199
            0.1521609496625161 -0.20136540080403034 -0.04471061572777259 0 0 0 0;
        -0.8914125317668624 0 0 0 0 8.900625785504818 3.7830357986290006 -11.60240792002117 0.6223287339156398
            -0.3043218993250322 0.4027308016080607 0.08942123145554517 -1.0 0 0 0;
        -8.428938276109013 0 0 0 0 0.5667149535193777 -3.0689499459498917 2.38466765651207 2.117034582445028
            -0.871391583777973 2.2404374302607883 0.6315787787694688 -0.08899033645133331 18.148505520854727
            -9.194632392478356 -4.436036387594894;
        10.427508642579134 0 0 0 0 242.28349177525817 165.20045171727028 -374.5467547226902 -22.113666853125306
            7.733432668472264 -30.674084731089398 -9.332130526430229 15.697238121770845 -31.139403219565178
            -9.35292435884448 35.81684148639408;
        19.985053242002433 0 0 0 0 -387.0373087493518 -189.17813819516758 527.8081592054236 -11.57390253995963
            6.8812326946963 -1.0006050966910838 0.7777137798053443 -2.778205752353508 -60.19669523126412
            84.32040550667716 11.99229113618279;
        -25.69393346270375 0 0 0 0 -154.18974869023643 -231.5293791760455 357.6391179106141 93.40532418362432
            -37.45832313645163 104.0996495089623 29.8402934266605 -43.53345659001114 96.32455395918828
            -39.17726167561544 -149.72683625798564
        """
        )
    ),
)

# Steinebach, Construction of Rosenbrock–Wanner method Rodas5P, BIT Numerical Mathematics 63:27 (2023). At an error of
# 1e-8 it takes half the steps of Rodas4.
RODAS5P = Rosenbrock(
    name="Rodas5P",
    order=5,
    error_order=5,
    dense_order=4,
    gamma=0.21193756319429014,
    a=lower(
        """
        3.0;
        2.849394379747939 0.45842242204463923;
        -6.954028509809101 2.489845061869568 -10.358996098473584;
        2.8029986275628964 0.5072464736228206 -0.3988312541770524 -0.04721187230404641;
        -7.502846399306121 2.561846144803919 -11.627539656261098 -0.18268767659942256 0.030198172008377946;
        -7.502846399306121 2.561846144803919 -11.627539656261098 -0.18268767659942256 0.030198172008377946 1.0;
        -7.502846399306121 2.561846144803919 -11.627539656261098 -0.18268767659942256 0.030198172008377946 1.0
            1.0
        """
    ),
    c=lower(
        """
        -14.155112264123755;
        -17.97296035885952 -2.859693295451294;
        147.12150275711716 -1.41221402718213 71.68940251302358;
        165.43517024871676 -0.4592823456491126 42.90938336958603 -5.961986721573306;
        24.854864614690072 -3.0009227002832186 47.4931110020768 5.5814197821558125 -0.6610691825249471;
        30.91273214028599 -3.1208243349937974 77.79954646070892 34.28646028294783 -19.097331116725623
            -28.087943162872662;
        37.80277123390563 -3.2571969029072276 112.26918849496327 66.9347231244047 -40.06618937091002
            -54.66780262877968 -9.48861652309627
        """
    ),
    dense=np.array(
        rows(
            """
        25.948786856663858 -2.5579724845846235 10.433815404888879 -2.3679251022685204 0.524948541321073
            1.1241088310450404 0.4272876194431874 -0.17202221070155493;
        -9.91568850695171 -0.9689944594115154 3.0438037242978453 -24.495224566215796 20.176138334709044
            15.98066361424651 -6.789040303419874 -6.710236069923372;
        11.419903575922262 2.8879645146136994 72.92137995996029 80.12511834622643 -52.072871366152654
            -59.78993625266729 -0.15582684282751913 4.883087185713722
        """
        )
    ),
)
