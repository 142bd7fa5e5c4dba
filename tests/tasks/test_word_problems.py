from __future__ import annotations

import json
from pathlib import Path

import pytest

from toykit.tasks import evaluate, last_number

FILE = Path(__file__).parents[2] / "data" / "problems" / "word_problems.jsonl"

# How each problem is solved, written without looking at the answers of the file.
SOLUTIONS = [
    "24+24/2",
    "5*4+3-17",
    "6*35+48",
    "7*18+34",
    "12*15-23",
    "310-85+40-112",
    "46.50/3",
    "2*(14+9)-2",
    "8*12.50-63",
    "7*9*5",
    "40-40*25/100",
    "65*3+80*2",
    "3*(15+8)",
    "(240-240/3)/10",
    "19*24-8*37",
    "7-2*6",
    "(30-24)/(2-1)",
    "300/4*10",
    "8*14+2*14*3/2",
    "(48-48/4)/18",
    "2*(84/7+7)",
    "1.2*2*5*4",
    "50-15/3*7",
    "(58-12)/2",
    "11*16*(1-3/4)",
    "(26*2+8)/10+(26*3+2)/10",
    "(92+88+90+94)/4",
    "(30-30*60/100)/3",
    "72/6+5",
    "4*63/18",
    "85*9+40*5.50",
    "(9-3)/(3-1)+1",
    "70*3/(2+3+5)",
    "2.5*12.40",
    "(41-9)/2",
    "(1250+130)*9/10",
    "(500-20)/40",
    "15+0.08*125",
    "1/(1/6+1/3)",
    "96-96*5/8-14",
    "42/12",
    "5*12-7-8*6",
    "5^3",
    "18*105/100",
    "(145-20*5)/(10-5)",
    "8*6+2*(8*7/2)",
    "9-0.25*14",
    "90*(1-1/3)*(1-1/2)",
    "(13+5)/(20+5)*100",
    "145+(145-20)+2*(145-20)",
]


def rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def test_there_are_fifty_different_problems_with_a_prompt_and_an_answer() -> None:
    assert len(rows()) == len(SOLUTIONS) == 50
    assert len({row["prompt"] for row in rows()}) == 50
    assert all(set(row) == {"prompt", "answer"} and row["prompt"].endswith(("?", ".")) for row in rows())


@pytest.mark.parametrize("line", range(50))
def test_every_answer_is_the_value_of_its_solution(line: int) -> None:
    assert last_number(rows()[line]["answer"]) == evaluate(SOLUTIONS[line])
