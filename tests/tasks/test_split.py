from __future__ import annotations

import pytest

from toykit.tasks.split import check_test_fraction, hash_share, in_test


def test_the_share_of_a_text_is_the_head_of_its_sha_256() -> None:
    # sha256("abc") begins with ba7816bf8f01
    assert hash_share("abc") == 0xBA7816BF8F01 / 2**48
    assert in_test("abc", 0.7285) and not in_test("abc", 0.728)  # 0.72839...


def test_the_share_held_out_is_the_fraction_asked_for() -> None:
    held_out = sum(in_test(f"problem {i}", 0.2) for i in range(5000)) / 5000
    assert held_out == pytest.approx(0.2, abs=4 * (0.16 / 5000) ** 0.5)
    assert not any(in_test(f"problem {i}", 0.0) for i in range(100))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="test_fraction must be"):
        check_test_fraction(fraction)
