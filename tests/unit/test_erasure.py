"""What is left of raw records once a person is erased: amounts, dates and ids, and everybody else."""

import json

import pytest

from sql.erasure import ERASED, person_with, redact

SAID = person_with(["+244923456789"])


@pytest.mark.parametrize(
    "text",
    [
        "+244923456789",
        "244923456789",
        "00244 923 456 789",
        "923456789",
        "923 456 789",
        "0923-456-789",
        "(+244) 923.456.789",
    ],
)
def test_finds_the_phone_however_it_is_written(text: str) -> None:
    assert SAID.search(f"tel {text}.")


@pytest.mark.parametrize(
    "text", ["1923456789", "9234567890", "244923456788", "92345678", "INV-923456"]
)
def test_leaves_other_numbers_alone(text: str) -> None:
    assert not SAID.search(f"no {text} ")


def test_the_person_goes_and_the_sale_and_the_others_stay() -> None:
    other = {"Id": "8", "DisplayName": "Rui", "Phone": "+244 923 456 780", "Total": 7}
    page = {
        "Invoices": [
            {
                "Id": "7", "Total": 150.10, "Date": "2024-01-15", "Contact": {"Name": "Ana", "Phones": [{"Number": "923 456 789"}]},
                "Email": "ana@example.org", "Lines": [{"Name": "Água 5L", "Amount": 1e2}],
            },
            other,
        ],
        "page": 1,
    }  # fmt: skip
    text = json.dumps(page).replace("150.1", "150.10")
    found = redact(text, SAID)
    assert found is not None
    assert "Ana" not in found
    assert "ana@" not in found
    assert not SAID.search(found)
    assert "150.10" in found
    mine, kept = json.loads(found)["Invoices"]
    assert kept == other
    assert (mine["Id"], mine["Date"], mine["Lines"][0]["Name"], mine["Contact"]["Name"]) == (
        "7",
        "2024-01-15",
        "Água 5L",
        ERASED,
    )
    assert json.loads(found)["page"] == 1
    assert redact(found, SAID) is None


def test_what_does_not_mention_the_person_is_not_touched() -> None:
    assert redact('{"a": 1.50,  "b": "+244923000001"}', SAID) is None


def test_a_file_of_lines() -> None:
    text = "no,phone\n1,923456789\n2,923000001\n"
    assert redact(text, SAID) == f"no,phone\n1,{ERASED}\n2,923000001\n"
    lines = '{"id":1,"name":"Ana","phone":"923456789"}\n{"id":2,"name":"Rui","phone":"923000001"}\n'
    assert redact(lines, SAID) == (
        f'{{"id":1,"name":"{ERASED}","phone":"{ERASED}"}}\n{{"id":2,"name":"Rui","phone":"923000001"}}\n'
    )


def test_a_webhook_is_one_record() -> None:
    body = '{"type":"sale.completed","data":{"id":"k","customer":{"name":"Ana","phone":"+244923456789"},"total":"1.00"}}'
    found = redact(body, SAID)
    assert found is not None
    assert json.loads(found)["data"] == {
        "id": "k",
        "customer": {"name": ERASED, "phone": ERASED},
        "total": "1.00",
    }
