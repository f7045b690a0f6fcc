"""Classic functions in Python, each with an explanation and a unit check."""

from dataclasses import dataclass
from random import Random

from .item import Item


@dataclass(frozen=True)
class Function:
    """One function: what it is called in a question, its code, what it does, and checks that it must pass."""

    names: tuple[str, ...]
    code: str
    explanation: str
    checks: tuple[str, ...]


def _f(names: str, code: str, explanation: str, *checks: str) -> Function:
    return Function(tuple(names.split("|")), code.strip("\n"), explanation, checks)


FUNCTIONS = (
    _f("the n-th Fibonacci number|Fibonacci numbers|the Fibonacci sequence|how to calculate Fibonacci numbers|how to generate the Fibonacci sequence|Fibonacci", """
def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
""", "It starts with 0 and 1 and adds the last two numbers n times.", "fibonacci(0) == 0", "fibonacci(10) == 55"),
    _f("the factorial of a number|the factorial of n|factorials|how to calculate the factorial of a number|how to compute a factorial|factorial", """
def factorial(n):
    result = 1
    for i in range(2, n + 1):
        result *= i
    return result
""", "It multiplies all numbers from 2 to n.", "factorial(0) == 1", "factorial(5) == 120"),
    _f("whether a number is prime|if a number is prime|prime numbers|how to check if a number is prime|how to test whether a number is prime|prime checking", """
def is_prime(n):
    if n < 2:
        return False
    for i in range(2, int(n ** 0.5) + 1):
        if n % i == 0:
            return False
    return True
""", "It tries all divisors up to the square root of n.", "is_prime(2)", "not is_prime(1)", "is_prime(97)", "not is_prime(91)"),
    _f("all primes up to n|the primes below a limit|the sieve of Eratosthenes|how to find all primes up to n|how to list prime numbers", """
def primes_up_to(n):
    sieve = [True] * (n + 1)
    primes = []
    for i in range(2, n + 1):
        if sieve[i]:
            primes.append(i)
            for j in range(i * i, n + 1, i):
                sieve[j] = False
    return primes
""", "It crosses out the multiples of each prime.", "primes_up_to(10) == [2, 3, 5, 7]", "primes_up_to(2) == [2]"),
    _f("whether a string is a palindrome|if a word is a palindrome|palindromes|how to check if a string is a palindrome|how to check for palindromes|how to detect a palindrome", """
def is_palindrome(text):
    letters = [c.lower() for c in text if c.isalnum()]
    return letters == letters[::-1]
""", "It keeps the letters and compares them with their reverse.", "is_palindrome('Level')", "not is_palindrome('hello')"),
    _f("a reversed string|the reverse of a string|how to reverse a string|reversing a string|string reversal", """
def reverse_string(text):
    return text[::-1]
""", "The slice with step -1 walks from the end to the start.", "reverse_string('abc') == 'cba'", "reverse_string('') == ''"),
    _f("bubble sort|a list sorted by bubble sort|how to sort a list|sorting a list|a sorted list|how to sort numbers|a sorting algorithm", """
def bubble_sort(items):
    items = list(items)
    for end in range(len(items) - 1, 0, -1):
        for i in range(end):
            if items[i] > items[i + 1]:
                items[i], items[i + 1] = items[i + 1], items[i]
    return items
""", "It swaps neighbours until the largest ones are at the end.", "bubble_sort([3, 1, 2]) == [1, 2, 3]", "bubble_sort([]) == []"),
    _f("quicksort|a list sorted by quicksort|quick sort|how to implement quicksort", """
def quicksort(items):
    if len(items) <= 1:
        return list(items)
    pivot = items[0]
    smaller = [x for x in items[1:] if x < pivot]
    larger = [x for x in items[1:] if x >= pivot]
    return quicksort(smaller) + [pivot] + quicksort(larger)
""", "It splits the list around a pivot and sorts both sides.", "quicksort([3, 1, 2, 3]) == [1, 2, 3, 3]", "quicksort([]) == []"),
    _f("merge sort|a list sorted by merge sort|mergesort|how to implement merge sort", """
def merge_sort(items):
    if len(items) <= 1:
        return list(items)
    middle = len(items) // 2
    left = merge_sort(items[:middle])
    right = merge_sort(items[middle:])
    result = []
    while left and right:
        if left[0] <= right[0]:
            result.append(left.pop(0))
        else:
            result.append(right.pop(0))
    return result + left + right
""", "It sorts both halves and merges them.", "merge_sort([5, 2, 4, 1]) == [1, 2, 4, 5]", "merge_sort([1]) == [1]"),
    _f("insertion sort|a list sorted by insertion sort", """
def insertion_sort(items):
    result = []
    for item in items:
        i = len(result)
        while i > 0 and result[i - 1] > item:
            i -= 1
        result.insert(i, item)
    return result
""", "It inserts each item at its place in a sorted list.", "insertion_sort([3, 1, 2]) == [1, 2, 3]", "insertion_sort([]) == []"),
    _f("selection sort|a list sorted by selection sort", """
def selection_sort(items):
    items = list(items)
    for i in range(len(items)):
        smallest = min(range(i, len(items)), key=lambda j: items[j])
        items[i], items[smallest] = items[smallest], items[i]
    return items
""", "It moves the smallest remaining item to the front.", "selection_sort([3, 1, 2]) == [1, 2, 3]", "selection_sort([]) == []"),
    _f("binary search|how to do a binary search|how to search a sorted list|an item in a sorted list|the position of an item in a sorted list", """
def binary_search(items, target):
    low, high = 0, len(items) - 1
    while low <= high:
        middle = (low + high) // 2
        if items[middle] == target:
            return middle
        if items[middle] < target:
            low = middle + 1
        else:
            high = middle - 1
    return -1
""", "It halves the range until the target is found; -1 means that it is not there.", "binary_search([1, 3, 5], 5) == 2", "binary_search([1, 3], 2) == -1"),
    _f("linear search|how to do a linear search|the position of an item in a list", """
def linear_search(items, target):
    for index, item in enumerate(items):
        if item == target:
            return index
    return -1
""", "It looks at each item in turn; -1 means that it is not there.", "linear_search([4, 2], 2) == 1", "linear_search([], 1) == -1"),
    _f("the greatest common divisor|the gcd of two numbers|the greatest common divisor of two numbers|how to find the greatest common divisor|how to compute the gcd|gcd", """
def gcd(a, b):
    while b:
        a, b = b, a % b
    return a
""", "This is Euclid's algorithm: replace the pair by b and the rest of a by b.", "gcd(12, 18) == 6", "gcd(7, 5) == 1"),
    _f("the least common multiple|the lcm of two numbers|the least common multiple of two numbers|how to find the least common multiple", """
def lcm(a, b):
    x, y = a, b
    while y:
        x, y = y, x % y
    return a * b // x
""", "It divides the product by the greatest common divisor.", "lcm(4, 6) == 12", "lcm(3, 5) == 15"),
    _f("the sum of the digits of a number|the digit sum|the sum of digits|how to add up the digits of a number|how to sum the digits of a number", """
def digit_sum(n):
    total = 0
    while n:
        total += n % 10
        n //= 10
    return total
""", "It takes off the last digit again and again.", "digit_sum(1234) == 10", "digit_sum(0) == 0"),
    _f("the sum of a list|the sum of all numbers in a list|how to sum a list|how to add up a list of numbers|summing a list", """
def sum_list(numbers):
    total = 0
    for number in numbers:
        total += number
    return total
""", "It adds the numbers one by one.", "sum_list([1, 2, 3]) == 6", "sum_list([]) == 0"),
    _f("the average of a list|the mean of a list of numbers|the average of numbers|how to calculate the average of a list|how to compute the mean", """
def average(numbers):
    if not numbers:
        return 0
    return sum(numbers) / len(numbers)
""", "It divides the sum by the number of items; an empty list gives 0.", "average([1, 2, 3]) == 2", "average([]) == 0"),
    _f("the largest number in a list|the maximum of a list|how to find the maximum in a list|how to find the largest number|the max of a list", """
def find_max(numbers):
    largest = numbers[0]
    for number in numbers[1:]:
        if number > largest:
            largest = number
    return largest
""", "It keeps the largest number seen so far.", "find_max([3, 9, 2]) == 9", "find_max([-1]) == -1"),
    _f("the smallest number in a list|the minimum of a list|how to find the minimum in a list|how to find the smallest number|the min of a list", """
def find_min(numbers):
    smallest = numbers[0]
    for number in numbers[1:]:
        if number < smallest:
            smallest = number
    return smallest
""", "It keeps the smallest number seen so far.", "find_min([3, 9, 2]) == 2", "find_min([5]) == 5"),
    _f("the second largest number in a list|the second largest number", """
def second_largest(numbers):
    ordered = sorted(set(numbers))
    return ordered[-2]
""", "It removes duplicates, sorts, and takes the one before the last.", "second_largest([1, 5, 5, 3]) == 3", "second_largest([1, 2]) == 1"),
    _f("the median of a list|the median|how to find the median", """
def median(numbers):
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
""", "It sorts the numbers and takes the middle, or the mean of the two in the middle.", "median([3, 1, 2]) == 2", "median([1, 2, 3, 4]) == 2.5"),
    _f("the number of vowels in a string|how many vowels a string has|vowels|how to count vowels|how to count the vowels in a string|counting vowels", """
def count_vowels(text):
    return sum(1 for c in text.lower() if c in "aeiou")
""", "It counts the letters a, e, i, o and u.", "count_vowels('Hello') == 2", "count_vowels('xyz') == 0"),
    _f("the number of words in a text|how many words a text has|words in a string|how to count words|how to count the words in a text", """
def count_words(text):
    return len(text.split())
""", "Splitting at white space gives the words.", "count_words('a b  c') == 3", "count_words('') == 0"),
    _f("how often each word occurs|the frequency of words|word frequencies|how to count word frequencies", """
def word_counts(text):
    counts = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts
""", "It keeps a dictionary from words to counts.", "word_counts('a b A') == {'a': 2, 'b': 1}", "word_counts('') == {}"),
    _f("how often each letter occurs|the frequency of characters|the characters in a string|how to count characters|how to count letters", """
def char_counts(text):
    counts = {}
    for c in text:
        counts[c] = counts.get(c, 0) + 1
    return counts
""", "It keeps a dictionary from characters to counts.", "char_counts('aba') == {'a': 2, 'b': 1}", "char_counts('') == {}"),
    _f("whether two words are anagrams|if two strings are anagrams|anagrams|how to check for anagrams|how to check if two words are anagrams", """
def are_anagrams(a, b):
    return sorted(a.lower()) == sorted(b.lower())
""", "Two words are anagrams if their sorted letters are equal.", "are_anagrams('Listen', 'Silent')", "not are_anagrams('a', 'b')"),
    _f("a list without duplicates|how to remove duplicates from a list|removing duplicates", """
def remove_duplicates(items):
    seen = set()
    result = []
    for item in items:
        if item not in seen:
            seen.add(item)
            result.append(item)
    return result
""", "It remembers what it has seen and keeps the order.", "remove_duplicates([1, 2, 1]) == [1, 2]", "remove_duplicates([]) == []"),
    _f("a flat list from nested lists|how to flatten a nested list|flattening a list|how to flatten a list", """
def flatten(items):
    result = []
    for item in items:
        if isinstance(item, list):
            result.extend(flatten(item))
        else:
            result.append(item)
    return result
""", "It calls itself for every inner list.", "flatten([1, [2, [3]]]) == [1, 2, 3]", "flatten([]) == []"),
    _f("a reversed list|how to reverse a list|reversing a list|the reverse of a list", """
def reverse_list(items):
    result = []
    for item in items:
        result.insert(0, item)
    return result
""", "It puts each item in front of the others.", "reverse_list([1, 2, 3]) == [3, 2, 1]", "reverse_list([]) == []"),
    _f("whether a number is even|if a number is even|how to check if a number is even|even numbers", """
def is_even(n):
    return n % 2 == 0
""", "A number is even if dividing by 2 leaves no rest.", "is_even(4)", "not is_even(3)"),
    _f("whether a year is a leap year|if a year is a leap year|leap years|how to check for leap years|how to check if a year is a leap year", """
def is_leap_year(year):
    if year % 400 == 0:
        return True
    if year % 100 == 0:
        return False
    return year % 4 == 0
""", "Every fourth year is one, but of the centuries only every fourth.", "is_leap_year(2000)", "not is_leap_year(1900)", "is_leap_year(2024)"),
    _f("Celsius to Fahrenheit|how to convert Celsius to Fahrenheit|a temperature in Fahrenheit|Celsius to Fahrenheit conversion", """
def celsius_to_fahrenheit(celsius):
    return celsius * 9 / 5 + 32
""", "It multiplies by nine fifths and adds 32.", "celsius_to_fahrenheit(100) == 212", "celsius_to_fahrenheit(0) == 32"),
    _f("Fahrenheit to Celsius|how to convert Fahrenheit to Celsius|a temperature in Celsius|Fahrenheit to Celsius conversion", """
def fahrenheit_to_celsius(fahrenheit):
    return (fahrenheit - 32) * 5 / 9
""", "It subtracts 32 and multiplies by five ninths.", "fahrenheit_to_celsius(212) == 100", "fahrenheit_to_celsius(32) == 0"),
    _f("FizzBuzz|the FizzBuzz game|fizz buzz", """
def fizzbuzz(n):
    result = []
    for i in range(1, n + 1):
        if i % 15 == 0:
            result.append("FizzBuzz")
        elif i % 3 == 0:
            result.append("Fizz")
        elif i % 5 == 0:
            result.append("Buzz")
        else:
            result.append(str(i))
    return result
""", "Multiples of 3 become Fizz, of 5 Buzz, of both FizzBuzz.", "fizzbuzz(5) == ['1', '2', 'Fizz', '4', 'Buzz']", "fizzbuzz(15)[14] == 'FizzBuzz'"),
    _f("a number to binary|how to convert a number to binary|the binary digits of a number", """
def to_binary(n):
    if n == 0:
        return "0"
    digits = ""
    while n:
        digits = str(n % 2) + digits
        n //= 2
    return digits
""", "It collects the rests of dividing by 2.", "to_binary(10) == '1010'", "to_binary(0) == '0'"),
    _f("binary to decimal|how to convert binary to decimal|the value of a binary string", """
def from_binary(digits):
    value = 0
    for digit in digits:
        value = value * 2 + int(digit)
    return value
""", "Each digit doubles the value and adds itself.", "from_binary('1010') == 10", "from_binary('0') == 0"),
    _f("the power of a number|x to the power of n|powers|how to compute a power|how to raise a number to a power", """
def power(x, n):
    result = 1
    for _ in range(n):
        result *= x
    return result
""", "It multiplies by x, n times.", "power(2, 10) == 1024", "power(5, 0) == 1"),
    _f("the divisors of a number|all divisors of n|how to find the divisors of a number", """
def divisors(n):
    return [i for i in range(1, n + 1) if n % i == 0]
""", "It keeps the numbers that divide n without a rest.", "divisors(6) == [1, 2, 3, 6]", "divisors(1) == [1]"),
    _f("the prime factors of a number|prime factorization|how to find the prime factors of a number|how to factor a number", """
def prime_factors(n):
    factors = []
    i = 2
    while i * i <= n:
        while n % i == 0:
            factors.append(i)
            n //= i
        i += 1
    if n > 1:
        factors.append(n)
    return factors
""", "It divides by each number as often as possible.", "prime_factors(12) == [2, 2, 3]", "prime_factors(13) == [13]"),
    _f("a text with capital first letters|how to capitalize each word|title case|how to capitalize words", """
def title_case(text):
    return " ".join(word.capitalize() for word in text.split())
""", "It capitalizes each word and joins them again.", "title_case('hello world') == 'Hello World'", "title_case('') == ''"),
    _f("the Caesar cipher|a text encrypted by the Caesar cipher|a Caesar cipher|how to encrypt a text with the Caesar cipher", """
def caesar(text, shift):
    result = ""
    for c in text:
        if c.islower():
            result += chr((ord(c) - ord("a") + shift) % 26 + ord("a"))
        elif c.isupper():
            result += chr((ord(c) - ord("A") + shift) % 26 + ord("A"))
        else:
            result += c
    return result
""", "It moves each letter by the shift and wraps around at z.", "caesar('xyz', 3) == 'abc'", "caesar('Hi!', 1) == 'Ij!'"),
    _f("the transpose of a matrix|how to transpose a matrix", """
def transpose(matrix):
    return [list(row) for row in zip(*matrix)]
""", "Zip takes one item of each row, which gives the columns.", "transpose([[1, 2], [3, 4]]) == [[1, 3], [2, 4]]", "transpose([[1]]) == [[1]]"),
    _f("the product of two matrices|matrix multiplication|how to multiply two matrices", """
def multiply_matrices(a, b):
    columns = list(zip(*b))
    return [[sum(x * y for x, y in zip(row, column)) for column in columns] for row in a]
""", "Each entry is the sum of products of a row and a column.", "multiply_matrices([[1, 2]], [[3], [4]]) == [[11]]", "multiply_matrices([[2]], [[3]]) == [[6]]"),
    _f("a list split into chunks|how to split a list into chunks", """
def chunks(items, size):
    return [items[i:i + size] for i in range(0, len(items), size)]
""", "It cuts slices of the given size.", "chunks([1, 2, 3], 2) == [[1, 2], [3]]", "chunks([], 2) == []"),
    _f("two merged dictionaries|how to merge two dictionaries", """
def merge_dicts(a, b):
    result = dict(a)
    result.update(b)
    return result
""", "The second dictionary wins where both have a key.", "merge_dicts({'x': 1}, {'y': 2}) == {'x': 1, 'y': 2}", "merge_dicts({'x': 1}, {'x': 2}) == {'x': 2}"),
    _f("two sum|two numbers that add up to a target|the indices of two numbers that add up to a target", """
def two_sum(numbers, target):
    seen = {}
    for index, number in enumerate(numbers):
        if target - number in seen:
            return [seen[target - number], index]
        seen[number] = index
    return []
""", "It remembers each number with its index and looks for the missing part.", "two_sum([2, 7, 11], 9) == [0, 1]", "two_sum([1], 5) == []"),
    _f("whether brackets are balanced|if brackets are balanced|balanced parentheses|how to check for balanced brackets", """
def is_balanced(text):
    pairs = {")": "(", "]": "[", "}": "{"}
    stack = []
    for c in text:
        if c in pairs.values():
            stack.append(c)
        elif c in pairs:
            if not stack or stack.pop() != pairs[c]:
                return False
    return not stack
""", "A stack holds the open brackets.", "is_balanced('([])')", "not is_balanced('(]')", "not is_balanced('(')"),
    _f("the longest word in a text|the longest word|how to find the longest word", """
def longest_word(text):
    return max(text.split(), key=len)
""", "It compares the words by their length.", "longest_word('a bbb cc') == 'bbb'", "longest_word('x') == 'x'"),
    _f("the even numbers in a list|how to filter even numbers", """
def even_numbers(numbers):
    return [n for n in numbers if n % 2 == 0]
""", "It keeps the numbers that 2 divides.", "even_numbers([1, 2, 4]) == [2, 4]", "even_numbers([]) == []"),
    _f("the squares of a list|the squares of numbers", """
def squares(numbers):
    return [n * n for n in numbers]
""", "It multiplies each number by itself.", "squares([1, 2, 3]) == [1, 4, 9]", "squares([]) == []"),
    _f("the sum of the first n numbers|the sum from 1 to n|how to sum the numbers from 1 to n", """
def sum_to(n):
    return n * (n + 1) // 2
""", "This is the formula of Gauss.", "sum_to(10) == 55", "sum_to(0) == 0"),
    _f("the common items of two lists|the intersection of two lists|how to find common items", """
def common_items(a, b):
    return [item for item in a if item in b]
""", "It keeps the items of the first list that the second has too.", "common_items([1, 2, 3], [2, 3]) == [2, 3]", "common_items([1], []) == []"),
    _f("the Collatz sequence|the Collatz steps of a number", """
def collatz(n):
    steps = [n]
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps.append(n)
    return steps
""", "Even numbers are halved; odd ones become three times the number plus one.", "collatz(6) == [6, 3, 10, 5, 16, 8, 4, 2, 1]", "collatz(1) == [1]"),
    _f("a stack|a stack class|how to implement a stack|how to make a stack", """
class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        return self.items.pop()

    def is_empty(self):
        return not self.items
""", "The last item pushed is the first one popped.", "Stack().is_empty()", "not hasattr(Stack(), 'x')"),
    _f("a queue|a queue class|how to implement a queue|how to make a queue", """
class Queue:
    def __init__(self):
        self.items = []

    def enqueue(self, item):
        self.items.append(item)

    def dequeue(self):
        return self.items.pop(0)

    def is_empty(self):
        return not self.items
""", "The first item in is the first one out.", "Queue().is_empty()", "not hasattr(Queue(), 'x')"),
    _f("hello world|a hello world program|how to print hello world|how to say hello world", """
def hello():
    return "Hello, world!"

print(hello())
""", "It returns the greeting and prints it.", "hello() == 'Hello, world!'"),
)

ASK = (
    "Write a Python function for {n}.", "Write Python code for {n}.", "How do I code {n} in Python?", "Can you write {n} in Python?",
    "Show me Python code for {n}.", "Write a function for {n}.", "Give me a Python function for {n}.", "Implement {n} in Python.",
    "Write a function that gives {n}.", "Python code for {n}, please.", "I need Python code for {n}.", "Code {n}.",
    "Please write a Python function for {n}.", "Write a Python program for {n}.", "Create a Python function for {n}.", "Show me {n} in Python.",
    "{n} in Python", "Please implement {n}.", "Write {n} in Python.",
)
ASK_VERB = {
    "whether": ("Write a Python function that checks {n}.", "How do I check {n} in Python?", "Write a function to check {n}.",
                "Write Python code to check {n}.", "Check {n} in Python."),
    "how": ("Show me {n} in Python.", "Write a Python function that shows {n}.", "Explain {n} in Python with code."),
    "noun": ("Write a Python function to calculate {n}.", "Write a Python function that returns {n}.", "Write a function to find {n}.",
             "How can I get {n} in Python?", "Write a function to compute {n} in Python.", "Write a Python function to find {n}."),
}

ASK_TASK = (
    "Write a Python function to {n}.", "How do I {n} in Python?", "How can I {n} in Python?", "Write a function to {n}.", "Write code to {n}.",
    "Write a Python program to {n}.", "Show me Python code to {n}.", "Can you {n} in Python?", "I want to {n} in Python.", "Please write a function to {n}.",
    "Write a function that can {n}.",
)


def wordings(name: str) -> tuple[str, ...]:
    """Ways to ask for a function that is called `name`."""
    first = name.split()[0]
    if first in ("whether", "if"):
        return ASK_VERB["whether"]
    if name.startswith("how to "):
        return ASK_VERB["how"] + tuple(ask.replace("{n}", name.removeprefix("how to ")) for ask in ASK_TASK)
    if first == "how":
        return ASK_VERB["how"]
    return ASK + ASK_VERB["noun"]


INTRO = ("Here is a Python function for that:", "Here is the code:", "You can do it like this:")


def coding(rng: Random) -> Item:
    """A question for one of the functions, and its code with the explanation."""
    function = rng.choice(FUNCTIONS)
    name = rng.choice(function.names)
    question = rng.choice(wordings(name)).format(n=name)
    intro = INTRO[len(function.code) % len(INTRO)]
    answer = f"{intro}\n\n```python\n{function.code}\n```\n\n{function.explanation}"
    return Item("coding", question, (question, answer), check={"asserts": function.checks})
