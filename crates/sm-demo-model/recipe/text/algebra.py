"""Linear equations, derivatives of polynomials and word problems, step by step."""

from random import Random

from .arithmetic import add_steps, divide_steps, multiply_steps, reply, subtract_steps, sum_steps
from .item import Item

ASK_SOLVE = ("Solve for {v}: {e}", "Solve {e} for {v}.", "Find {v} if {e}.", "What is {v} when {e}?", "Solve the equation {e}.",
             "Please solve {e}.")
ASK_DERIVE = ("Find the derivative of {f}.", "What is the derivative of {f}?", "Differentiate {f}.", "Differentiate f(x) = {f}.",
              "What is the derivative of f(x) = {f}?", "Find the derivative of f(x) = {f}.", "Calculate the derivative of {f}.")


def signed(value: int) -> str:
    """` + 3` or ` - 3`."""
    return f" + {value}" if value >= 0 else f" - {-value}"


def term(coefficient: int, name: str) -> str:
    """`x`, `-x` or `3x`."""
    return {1: name, -1: f"-{name}"}.get(coefficient, f"{coefficient}{name}")


def move_constant(left: str, constant: int, right: int) -> tuple[list[str], int]:
    """Steps that take `constant` off both sides of `left + constant = right`."""
    result = right - constant
    verb = f"Subtract {constant} from" if constant > 0 else f"Add {-constant} to"
    shown = f"{right} - {constant}" if constant > 0 else f"{right} + {-constant}"
    steps = [f"{verb} both sides: {left} = {shown}."]
    if not (0 <= right < 10 and abs(constant) < 10 and result >= 0):
        steps += sum_steps(right, -constant)
    return steps + [f"So {left} = {result}."], result


def divide_both(coefficient: int, name: str, right: int) -> list[str]:
    """The step from `coefficient * name = right` to the solution."""
    if coefficient == 1:
        return []
    quotient, rest = right // coefficient, abs(right) - 10 * coefficient
    if abs(quotient) <= 12:
        return [f"Divide both sides by {coefficient}: {name} = {right} / {coefficient} = {quotient}."]
    return [f"Divide both sides by {coefficient}: {name} = {right} / {coefficient}.",
            f"{coefficient} * 10 = {coefficient * 10}.", *subtract_steps(abs(right), coefficient * 10),
            f"{rest} / {coefficient} = {rest // coefficient}, and 10 + {rest // coefficient} = {abs(quotient)}.", f"So {name} = {quotient}."]


def equation(rng: Random) -> Item:
    """A linear equation in one unknown with an integer solution."""
    v = rng.choice("xxxxyzn")
    a, x = rng.randint(2, 12), rng.randint(-12, 12)
    b = rng.choice((-1, 1)) * rng.randint(1, 30)
    form = rng.random()
    if form < 0.65:
        c = a * x + b
        text = f"{term(a, v)}{signed(b)} = {c}"
        steps, right = move_constant(term(a, v), b, c)
        steps += divide_both(a, v, right)
    elif form < 0.8:
        k = rng.randint(1, a - 1)
        d = (a - k) * x + b
        text = f"{term(a, v)}{signed(b)} = {term(k, v)}{signed(d)}" if d else f"{term(a, v)}{signed(b)} = {term(k, v)}"
        steps = [f"Subtract {term(k, v)} from both sides: {a}{v} - {term(k, v)} = {term(a - k, v)}, so {term(a - k, v)}{signed(b)} = {d}."]
        moved, right = move_constant(term(a - k, v), b, d)
        steps += moved + divide_both(a - k, v, right)
    elif form < 0.9:
        p = rng.choice((-1, 1)) * rng.randint(1, 9)
        c = a * (x + p)
        text = f"{a}({v}{signed(p)}) = {c}"
        steps = divide_both(a, f"{v}{signed(p)}", c)
        steps += move_constant(v, p, x + p)[0]
    else:
        if rng.random() < 0.5:
            text = f"{v}{signed(b)} = {x + b}"
            steps = move_constant(v, b, x + b)[0]
        else:
            text = f"{term(a, v)} = {a * x}"
            steps = divide_both(a, v, a * x)
    question = rng.choice(ASK_SOLVE).format(v=v, e=text)
    return Item("equation", text.replace(v, "x"), (question, reply(steps, x)), answer=str(x))


def power(coefficient: int, exponent: int) -> str:
    """One term of a polynomial, without its sign."""
    if exponent == 0:
        return f"{coefficient}"
    name = "x" if exponent == 1 else f"x^{exponent}"
    return name if coefficient == 1 else f"{coefficient}{name}"


def polynomial(terms: list[tuple[int, int]]) -> str:
    """Terms `(coefficient, exponent)` as text; `0` if there are none."""
    if not terms:
        return "0"
    text = ""
    for index, (coefficient, exponent) in enumerate(terms):
        sign = ("-" if coefficient < 0 else "") if index == 0 else (" - " if coefficient < 0 else " + ")
        text += sign + power(abs(coefficient), exponent)
    return text


def derivative(rng: Random) -> Item:
    """The derivative of a polynomial of degree one to four."""
    degree = rng.randint(1, 4)
    exponents = [degree] + [e for e in range(degree - 1, -1, -1) if rng.random() < 0.65]
    terms = [(rng.choice((1, 1, 1, -1)) * rng.randint(1, 12), e) for e in exponents]
    steps, result = ["Use the power rule on each term."], []
    for coefficient, exponent in terms:
        shown = ("-" if coefficient < 0 else "") + power(abs(coefficient), exponent)
        if exponent == 0:
            steps.append(f"The derivative of the constant {shown} is 0.")
            continue
        result.append((coefficient * exponent, exponent - 1))
        derived = ("-" if coefficient < 0 else "") + power(abs(coefficient) * exponent, exponent - 1)
        product = "" if exponent == 1 else f" ({abs(coefficient)} * {exponent} = {abs(coefficient) * exponent})"
        steps.append(f"The derivative of {shown} is {derived}{product}.")
    answer = polynomial(result)
    f = polynomial(terms)
    return Item("derivative", f, (rng.choice(ASK_DERIVE).format(f=f), reply(steps, answer)), answer=answer)


PEOPLE = ("Anna", "Ben", "Carla", "David", "Emma", "Finn", "Grace", "Hugo", "Ivy", "Jack", "Lena", "Max", "Nora", "Oscar",
          "Paul", "Rosa", "Sam", "Tina", "Victor", "Zoe")
THINGS = ("apples", "books", "marbles", "stickers", "coins", "cards", "pencils", "shells", "cookies", "flowers", "stamps", "balls")
PACKS = (("boxes", "box"), ("bags", "bag"), ("packs", "pack"), ("baskets", "basket"))


def word_problem(rng: Random) -> Item:
    """A problem of two steps about counting things."""
    who, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    packs, pack = rng.choice(PACKS)
    form = rng.randrange(4)
    if form == 0:
        n, each, gone = rng.randint(2, 9), rng.randint(2, 12), rng.randint(1, 20)
        gone = min(gone, n * each - 1)
        question = (f"{who} has {n} {packs} of {thing}. Each {pack} holds {each} {thing}. {who} gives away {gone} {thing}. "
                    f"How many {thing} are left?")
        steps = [f"First, {n} {packs} with {each} {thing} each: {n} * {each} = {n * each}.",
                 f"Then {gone} are given away: {n * each} - {gone}.", *subtract_steps(n * each, gone)]
        answer, key = n * each - gone, f"give {n} {each} {gone}"
    elif form == 1:
        a, b, c = rng.randint(5, 99), rng.randint(2, 60), rng.randint(2, 60)
        question = f"{who} has {a} {thing}. {who} finds {b} more and then buys {c} more. How many {thing} does {who} have now?"
        steps = [f"First, {a} + {b}.", *add_steps(a, b), f"Then {a + b} + {c}.", *add_steps(a + b, c)]
        answer, key = a + b + c, f"find {a} {b} {c}"
    elif form == 2:
        friends, each, extra = rng.randint(2, 9), rng.randint(2, 12), rng.randint(1, 9)
        total = friends * each + extra
        question = (f"{who} has {total} {thing}. {who} keeps {extra} and shares the rest equally among {friends} friends. "
                    f"How many {thing} does each friend get?")
        steps = [f"First, take away the {extra} that {who} keeps: {total} - {extra}.", *subtract_steps(total, extra),
                 f"Then share {total - extra} among {friends}.", *divide_steps(total - extra, friends)]
        answer, key = each, f"share {total} {extra} {friends}"
    else:
        n, price, paid = rng.randint(2, 9), rng.randint(2, 12), 100
        question = f"{who} buys {n} {thing} for {price} dollars each and pays with {paid} dollars. How much change does {who} get?"
        steps = [f"First, the cost: {n} * {price} = {n * price}.", f"Then the change: {paid} - {n * price}.",
                 *subtract_steps(paid, n * price)]
        answer, key = paid - n * price, f"buy {n} {price}"
    return Item("word_problem", key, (question, reply(steps, answer)), answer=str(answer))
