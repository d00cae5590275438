"""The CUDA text of every flow is C++ that a compiler accepts, and the numba text uses no name that it is not given."""

from pathlib import Path

from tests.derivations.text_cases import accepted, unknown

GENERATED = Path(__file__).resolve().parents[2] / "solvers" / "generated"


def flows(suffix: str = "cu") -> dict[str, str]:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(GENERATED.glob(f"*.{suffix}"))}
    return {name: text for name, text in texts.items() if "Closed equations" in text.splitlines()[0]}


def test_every_flow_compiles() -> None:
    texts = flows()
    assert texts
    assert accepted(texts) == ""


def test_a_missing_argument_does_not() -> None:
    text = flows()["reverse_kl"]
    assert "too few arguments" in accepted({"broken": text.replace("expect(work, K, ", "expect(work, ")})


def test_numba_texts_need_what_they_say() -> None:
    texts = flows("numba")
    assert set(texts) == {"forward_kl", "reverse_kl"}
    assert {name: unknown(text) for name, text in texts.items() if unknown(text)} == {}
    text = texts["reverse_kl"]
    assert "inv_u" in unknown(text.replace("inv_u = ", "inverse = "))
