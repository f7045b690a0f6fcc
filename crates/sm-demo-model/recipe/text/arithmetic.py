"""The four operations, fractions and percentages, written out digit by digit."""

from math import gcd
from random import Random

from .item import Item

PLACES = ("Ones", "Tens", "Hundreds", "Thousands")


def add_steps(a: int, b: int) -> list[str]:
    """Column addition of two numbers that are not negative, from the right, with the carry."""
    steps, carry, place = [], 0, 0
    x, y = a, b
    while x or y or place == 0:
        p, q = x % 10, y % 10
        total = p + q + carry
        parts = f"{p} + {q}" + (f" + {carry}" if carry else "")
        x, y = x // 10, y // 10
        more = bool(x or y)
        line = f"{PLACES[place]}: {parts} = {total}"
        carry = total // 10
        if carry and more:
            line += f", write {total % 10}, carry {carry}"
        steps.append(line + ".")
        place += 1
    return steps + [f"So {a} + {b} = {a + b}."]


def compare_steps(a: int, b: int) -> list[str]:
    """Which of two numbers that are not negative is larger: by their lengths, then digit by digit from the left."""
    if a == b:
        return [f"Compare {a} and {b}: they are equal."]
    if len(str(a)) != len(str(b)):
        n, m = len(str(a)), len(str(b))
        seen = [f"{n} digit{'s' * (n > 1)} {'<' if n < m else '>'} {m} digit{'s' * (m > 1)}"]
    else:
        seen = []
        for p, q in zip(str(a), str(b)):
            seen.append(f"{p} {'=' if p == q else '<' if p < q else '>'} {q}")
            if p != q:
                break
    return [f"Compare {a} and {b}: {', '.join(seen)}, so {max(a, b)} is larger."]


def subtract_steps(a: int, b: int) -> list[str]:
    """Column subtraction `a - b` for `a >= b >= 0`, from the right, with the borrow."""
    steps, borrow, place = [], 0, 0
    x, y = a, b
    while x or y or place == 0:
        top, q = x % 10 - borrow, y % 10
        line = f"{PLACES[place]}: "
        if borrow:
            line += f"{x % 10} - 1 = {top}, "
        borrow = int(top < q)
        if borrow:
            line += f"{top} is less than {q}, borrow 10: {top + 10} - {q} = {top + 10 - q}"
        else:
            line += f"{top} - {q} = {top - q}"
        steps.append(line + ".")
        x, y = x // 10, y // 10
        place += 1
    return steps + [f"So {a} - {b} = {a - b}."]


def sum_steps(a: int, b: int) -> list[str]:
    """Steps for `a + b` with any signs; the last one states the result."""
    if a >= 0 and b >= 0:
        return add_steps(a, b)
    if a < 0 and b < 0:
        return add_steps(-a, -b) + [f"Both are negative, so {a} - {-b} = {a + b}."]
    large, small = max(abs(a), abs(b)), min(abs(a), abs(b))
    shown = f"{a} + {b}" if b >= 0 else f"{a} - {-b}"
    steps = compare_steps(abs(a), abs(b))
    if a + b < 0:
        steps.append("The larger one is negative, and so is the result.")
    steps += subtract_steps(large, small)
    return steps if (a, b) == (large, -small) else steps + [f"So {shown} = {a + b}."]


def multiply_steps(a: int, b: int) -> list[str]:
    """`a * b` for a one-digit `b`, or by splitting a two-digit `b` into tens and ones."""
    if b < 10:
        return times_digit_steps(a, b)
    tens, ones = b // 10 * 10, b % 10
    steps = [f"Split {b} = {tens} + {ones}."]
    steps += times_digit_steps(a, b // 10)
    steps += [f"So {a} * {tens} = {a * tens}."]
    if ones == 0:
        return steps
    return steps + times_digit_steps(a, ones) + add_steps(a * tens, a * ones) + [f"So {a} * {b} = {a * b}."]


def times_digit_steps(a: int, digit: int) -> list[str]:
    """`a * digit` for one digit, from the right, with the carry."""
    steps, carry, place, x = [], 0, 0, a
    while x or place == 0:
        p = x % 10
        total = p * digit + carry
        x //= 10
        line = f"{PLACES[place]}: {p} * {digit} = {p * digit}"
        if carry:
            line += f", {p * digit} + {carry} = {total}"
        carry = total // 10
        if carry and x:
            line += f", write {total % 10}, carry {carry}"
        steps.append(line + ".")
        place += 1
    return steps + [f"So {a} * {digit} = {a * digit}."]


def divide_steps(a: int, b: int) -> list[str]:
    """Long division by one digit, from the left."""
    steps, rest = [], 0
    for digit in str(a):
        value = rest * 10 + int(digit)
        q = value // b
        rest = value - q * b
        steps.append(f"{value} / {b}: {q} * {b} = {q * b}, {value} - {q * b} = {rest}, write {q}.")
    return steps + [f"So {a} / {b} = {a // b}" + (f" rest {rest}." if rest else ".")]


ASK = {
    "+": ("What is {a} + {b}?", "Calculate {a} + {b}.", "{a} + {b} = ?", "Add {a} and {b}.", "Compute {a} + {b}.",
          "What is the sum of {a} and {b}?", "How much is {a} plus {b}?"),
    "-": ("What is {a} - {b}?", "Calculate {a} - {b}.", "{a} - {b} = ?", "Subtract {b} from {a}.", "Compute {a} - {b}.",
          "What is {a} minus {b}?", "How much is {a} minus {b}?"),
    "*": ("What is {a} * {b}?", "Calculate {a} * {b}.", "{a} * {b} = ?", "Multiply {a} by {b}.", "What is {a} times {b}?",
          "Compute {a} x {b}."),
    "/": ("What is {a} / {b}?", "Calculate {a} / {b}.", "{a} / {b} = ?", "Divide {a} by {b}.",
          "What is {a} divided by {b}?"),
}


def number(rng: Random, digits: int) -> int:
    """A number of one to `digits` digits, each length equally likely."""
    n = rng.randint(1, digits)
    return rng.randint(0 if n == 1 else 10 ** (n - 1), 10**n - 1)


def reply(steps: list[str], answer: object) -> str:
    """The steps and the line that states the answer."""
    return "\n".join([*steps, f"Answer: {answer}"])


def operation(rng: Random) -> Item:
    """An addition or subtraction of up to three digits."""
    op = rng.choice("+-")
    a, b = number(rng, 3), number(rng, 3)
    if op == "-" and a < b and rng.random() < 0.7:
        a, b = b, a
    steps = add_steps(a, b) if op == "+" else sum_steps(a, -b)
    answer = a + b if op == "+" else a - b
    if op == "-" and b == 0:
        steps = subtract_steps(a, b)
    question = rng.choice(ASK[op]).format(a=a, b=b)
    return Item("add_subtract", f"{a}{op}{b}", (question, reply(steps, answer)), answer=str(answer))


def product(rng: Random) -> Item:
    """A multiplication or a division."""
    if rng.random() < 0.5:
        a = rng.randint(2, 99)
        b = rng.randint(2, 9) if rng.random() < 0.7 else rng.randint(11, 25)
        steps, answer, op = multiply_steps(a, b), str(a * b), "*"
    else:
        b, a = rng.randint(2, 9), rng.randint(10, 999)
        if rng.random() < 0.6:
            a -= a % b
        steps, op = divide_steps(a, b), "/"
        answer = f"{a // b}" + (f" rest {a % b}" if a % b else "")
    question = rng.choice(ASK[op]).format(a=a, b=b)
    return Item("multiply_divide", f"{a}{op}{b}", (question, reply(steps, answer)), answer=answer)


def divisor_steps(n: int, m: int) -> list[str]:
    """Euclid's algorithm for the greatest common divisor of two positive numbers."""
    steps = []
    while m:
        steps.append(f"{n} - {n // m} * {m} = {n % m}" if n >= m else f"{n} is less than {m}")
        n, m = m, n % m
    return [", ".join(steps) + f", so both divide by {n}."]


def simplify_steps(n: int, m: int) -> tuple[list[str], str]:
    """Steps that simplify `n/m`, and the result as text."""
    g = gcd(n, m)
    shown = f"{n // g}/{m // g}" if m != g else f"{n // g}"
    if n == 0 or m == 1:
        return [f"{n}/{m} = {shown}."], shown
    steps = divisor_steps(n, m)
    if g != 1:
        steps.append(f"{n} / {g} = {n // g} and {m} / {g} = {m // g}, so {n}/{m} = {shown}.")
    return steps, shown


def fraction(rng: Random) -> Item:
    """Sums, differences and products of two fractions with small denominators, or one to simplify."""
    if rng.random() < 0.3:
        factor, p, q = rng.randint(2, 9), rng.randint(1, 9), rng.randint(2, 12)
        n, d = p * factor, q * factor
        steps, shown = simplify_steps(n, d)
        return Item("fraction", f"simplify {n}/{d}", (f"Simplify {n}/{d}.", reply(steps, shown)), answer=shown)
    b, d = rng.randint(2, 9), rng.randint(2, 9)
    a, c = rng.randint(1, b), rng.randint(1, d)
    op = rng.choice("+-*")
    if op == "-" and a * d < c * b:
        a, b, c, d = c, d, a, b
    if op == "*":
        n, m = a * c, b * d
        steps = [f"Multiply the tops and the bottoms: {a} * {c} = {n} and {b} * {d} = {m}."]
    else:
        x, y, m = a * d, c * b, b * d
        n = x + y if op == "+" else x - y
        steps = [f"The common denominator is {b} * {d} = {m}.", f"{a} * {d} = {x}, so {a}/{b} = {x}/{m}.", f"{c} * {b} = {y}, so {c}/{d} = {y}/{m}.",
                 *(add_steps(x, y) if op == "+" else subtract_steps(x, y)), f"The result is {n}/{m}."]
    more, shown = simplify_steps(n, m)
    steps += more
    question = rng.choice(("What is {0}?", "Calculate {0}.", "Compute {0}.")).format(f"{a}/{b} {op} {c}/{d}")
    return Item("fraction", f"{a}/{b}{op}{c}/{d}", (question, reply(steps, shown)), answer=shown)


def percentage(rng: Random) -> Item:
    """A percentage of a round number."""
    p, n = rng.choice((5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 80, 90)), 20 * rng.randint(1, 40)
    ten, quarter, result = n // 10, n // 4, p * n // 100
    if p in (25, 75):
        steps = [f"25% of {n} is {n} / 4.", *divide_steps(n, 4)]
        if p == 75:
            steps += [f"75% is 3 times as much: {quarter} * 3.", *times_digit_steps(quarter, 3)]
    else:
        steps = [f"10% of {n} is {ten}."]
        if p in (5, 15):
            steps += [f"5% is half of that: {ten} / 2.", *divide_steps(ten, 2)]
        if p == 15:
            steps += [f"15% is {ten} + {ten // 2}.", *add_steps(ten, ten // 2)]
        elif p > 15:
            steps += [f"{p}% is {p // 10} times as much: {ten} * {p // 10}.", *times_digit_steps(ten, p // 10)]
    question = rng.choice(("What is {p}% of {n}?", "Calculate {p}% of {n}.", "How much is {p} percent of {n}?"))
    return Item("percentage", f"{p}%{n}", (question.format(p=p, n=n), reply(steps, result)), answer=str(result))
