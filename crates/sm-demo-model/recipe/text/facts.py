"""Short questions and answers, in one and several turns, and an honest "I don't know"."""

from random import Random

from .item import ALWAYS, Item

CAPITALS = dict(pair.split(":") for pair in """France:Paris|Germany:Berlin|Italy:Rome|Spain:Madrid|Portugal:Lisbon|Austria:Vienna|Greece:Athens|Poland:Warsaw|
Sweden:Stockholm|Norway:Oslo|Denmark:Copenhagen|Finland:Helsinki|Ireland:Dublin|Belgium:Brussels|the Netherlands:Amsterdam|Switzerland:Bern|Hungary:Budapest|
the Czech Republic:Prague|Romania:Bucharest|Bulgaria:Sofia|Croatia:Zagreb|Serbia:Belgrade|Ukraine:Kyiv|Turkey:Ankara|Russia:Moscow|the United Kingdom:London|
England:London|Scotland:Edinburgh|Iceland:Reykjavik|Japan:Tokyo|China:Beijing|India:New Delhi|South Korea:Seoul|Thailand:Bangkok|Vietnam:Hanoi|
Indonesia:Jakarta|the Philippines:Manila|Australia:Canberra|New Zealand:Wellington|Canada:Ottawa|the United States:Washington, D.C.|Mexico:Mexico City|
Cuba:Havana|Brazil:Brasilia|Argentina:Buenos Aires|Chile:Santiago|Peru:Lima|Colombia:Bogota|Venezuela:Caracas|Egypt:Cairo|Kenya:Nairobi|Nigeria:Abuja|
Morocco:Rabat|Ethiopia:Addis Ababa|Ghana:Accra|South Africa:Pretoria|Iran:Tehran|Iraq:Baghdad|Israel:Jerusalem|Saudi Arabia:Riyadh|Pakistan:Islamabad|
Nepal:Kathmandu|Mongolia:Ulaanbaatar""".replace("\n", "").split("|"))

ASK_CAPITAL = ("What is the capital of {c}?", "Which city is the capital of {c}?", "Name the capital of {c}.", "Tell me the capital of {c}.",
               "What's the capital of {c}?", "Do you know the capital of {c}?", "capital of {c}?")

FACTS = tuple(tuple(line.split(" | ")) for line in """How many days are in a week? | How many days does a week have? | A week has 7 days.
How many months are in a year? | How many months does a year have? | A year has 12 months.
How many hours are in a day? | How many hours does a day have? | A day has 24 hours.
How many minutes are in an hour? | How many minutes does an hour have? | An hour has 60 minutes.
How many seconds are in a minute? | How many seconds does a minute have? | A minute has 60 seconds.
How many days are in a year? | How many days does a year have? | A year has 365 days, and a leap year has 366.
How many continents are there? | What is the number of continents? | There are 7 continents.
How many planets are in the solar system? | How many planets orbit the Sun? | The solar system has 8 planets.
What is the largest planet? | Which planet is the largest in the solar system? | The largest planet in the solar system is Jupiter.
What is the smallest planet? | Which planet is the smallest in the solar system? | The smallest planet in the solar system is Mercury.
Which planet is known as the Red Planet? | What is the red planet? | Mars is known as the Red Planet.
Which planet is closest to the Sun? | What planet is nearest to the Sun? | Mercury is the planet closest to the Sun.
Which planet has rings? | What planet is famous for its rings? | Saturn is famous for its rings.
What is the largest ocean? | Which ocean is the largest? | The Pacific Ocean is the largest ocean.
What is the longest river in the world? | Which river is the longest? | The Nile is usually named as the longest river in the world.
What is the highest mountain? | Which mountain is the highest in the world? | Mount Everest is the highest mountain in the world.
What is the largest country? | Which country is the largest by area? | Russia is the largest country by area.
What is the largest animal? | Which animal is the largest in the world? | The blue whale is the largest animal.
What is the tallest animal? | Which animal is the tallest? | The giraffe is the tallest animal.
What is the fastest land animal? | Which land animal is the fastest? | The cheetah is the fastest land animal.
How many legs does a spider have? | How many legs do spiders have? | A spider has 8 legs.
How many legs does an insect have? | How many legs do insects have? | An insect has 6 legs.
What do bees make? | What is made by bees? | Bees make honey.
What is the boiling point of water? | At what temperature does water boil? | Water boils at 100 degrees Celsius at sea level.
What is the freezing point of water? | At what temperature does water freeze? | Water freezes at 0 degrees Celsius.
What is the chemical formula of water? | What is the formula for water? | The chemical formula of water is H2O.
What is the chemical symbol for gold? | What is the symbol of gold? | The chemical symbol for gold is Au.
What is the chemical symbol for silver? | What is the symbol of silver? | The chemical symbol for silver is Ag.
What is the chemical symbol for iron? | What is the symbol of iron? | The chemical symbol for iron is Fe.
What gas do plants absorb? | Which gas do plants take in? | Plants absorb carbon dioxide.
What gas do we breathe? | Which gas do humans need to breathe? | We need oxygen to breathe.
What is the speed of light? | How fast is light? | Light travels about 300,000 kilometers per second.
Who wrote Romeo and Juliet? | Who is the author of Romeo and Juliet? | William Shakespeare wrote Romeo and Juliet.
Who wrote Hamlet? | Who is the author of Hamlet? | William Shakespeare wrote Hamlet.
Who wrote War and Peace? | Who is the author of War and Peace? | Leo Tolstoy wrote War and Peace.
Who wrote Don Quixote? | Who is the author of Don Quixote? | Miguel de Cervantes wrote Don Quixote.
Who painted the Mona Lisa? | Which artist painted the Mona Lisa? | Leonardo da Vinci painted the Mona Lisa.
Who developed the theory of relativity? | Who invented the theory of relativity? | Albert Einstein developed the theory of relativity.
Who discovered gravity? | Who described the law of gravity? | Isaac Newton described the law of gravity.
Who invented the telephone? | Who is the inventor of the telephone? | Alexander Graham Bell is known as the inventor of the telephone.
Who was the first person on the Moon? | Who first walked on the Moon? | Neil Armstrong was the first person on the Moon, in 1969.
In which year did the first person walk on the Moon? | When did people first land on the Moon? | People first landed on the Moon in 1969.
What color is the sky? | What is the color of the sky? | The sky is blue on a clear day.
What color is grass? | What is the color of grass? | Grass is green.
What colors make green? | Which two colors make green? | Blue and yellow make green.
What colors make purple? | Which two colors make purple? | Red and blue make purple.
What colors make orange? | Which two colors make orange? | Red and yellow make orange.
How many sides does a triangle have? | How many sides are in a triangle? | A triangle has 3 sides.
How many sides does a square have? | How many sides are in a square? | A square has 4 sides.
How many sides does a hexagon have? | How many sides are in a hexagon? | A hexagon has 6 sides.
What is the value of pi? | What is pi? | Pi is about 3.14159. It is the circumference of a circle divided by its diameter.
How many letters are in the English alphabet? | How many letters does the alphabet have? | The English alphabet has 26 letters.
How many bits are in a byte? | How many bits does a byte have? | A byte has 8 bits.
What is the opposite of hot? | What is the antonym of hot? | The opposite of hot is cold.
What is the opposite of big? | What is the antonym of big? | The opposite of big is small.
What is the opposite of day? | What is the antonym of day? | The opposite of day is night.
What do cows drink? | What does a cow drink? | Cows drink water.
What is the largest desert? | Which desert is the largest hot desert? | The Sahara is the largest hot desert.
What language is spoken in Brazil? | Which language do people speak in Brazil? | People in Brazil speak Portuguese.
What language is spoken in Mexico? | Which language do people speak in Mexico? | People in Mexico speak Spanish.
What is the currency of Japan? | Which currency is used in Japan? | The currency of Japan is the yen.
What is the currency of the United Kingdom? | Which currency is used in the United Kingdom? | The currency of the United Kingdom is the pound.
Where do penguins live? | Where can you find penguins? | Penguins live in the southern half of the world, many of them in Antarctica.
Where do polar bears live? | Where can you find polar bears? | Polar bears live in the Arctic.
What do pandas eat? | What is the food of pandas? | Pandas eat mostly bamboo.
What is a baby dog called? | What do you call a baby dog? | A baby dog is called a puppy.
What is a baby cat called? | What do you call a baby cat? | A baby cat is called a kitten.
What comes after Monday? | Which day comes after Monday? | Tuesday comes after Monday.
What comes after Friday? | Which day comes after Friday? | Saturday comes after Friday.
Which month comes after March? | What month follows March? | April comes after March.
What is the first month of the year? | Which month is the first? | January is the first month of the year.
What is the last month of the year? | Which month is the last? | December is the last month of the year.""".splitlines())

CONCEPTS = tuple(tuple(line.split(" | ")) for line in """machine learning | Machine learning is a way to make computers learn from examples. Instead of writing every rule by hand, we show a program many examples, and it finds the patterns by itself. | A spam filter is an example. It sees many emails that people marked as spam or not spam, and it learns which words and senders make spam likely.
artificial intelligence | Artificial intelligence is the field that builds programs for tasks that need intelligence, such as understanding language, seeing, or planning. | A program that plays chess is an example. It looks at possible moves and chooses the one that promises to win.
recursion | Recursion is when a function calls itself on a smaller problem until it reaches a case that is simple enough to answer at once. | The factorial is an example. The factorial of n is n times the factorial of n - 1, and the factorial of 0 is 1.
an algorithm | An algorithm is a list of clear steps that solves a problem. | A recipe is an example from daily life. In computing, binary search is one: look at the middle, and go on in the half that can hold the item.
a neural network | A neural network is a model made of many simple units in layers. Each unit adds up its weighted inputs and passes the result on. The weights are learned from examples. | A network that reads handwritten digits is an example. It gets the pixels of an image and gives a score to each digit from 0 to 9.
a variable | A variable is a name for a value that a program can read and change. | In Python, the line age = 30 makes a variable called age that holds the number 30.
a function | A function is a named piece of code that takes inputs, does some work, and gives back a result. | In Python, def double(x): return 2 * x makes a function that doubles its input.
a loop | A loop repeats some code, either a fixed number of times or while a condition holds. | In Python, for i in range(3): print(i) prints 0, 1 and 2.
a list | A list is an ordered collection of items that you can change. | In Python, colors = ["red", "green", "blue"] is a list, and colors[0] is "red".
a dictionary | A dictionary stores values under keys, so that you can look a value up by its key. | In Python, ages = {"Anna": 30} is a dictionary, and ages["Anna"] is 30.
a database | A database is an organized collection of data that programs can search and change quickly. | An online shop uses one. It stores the products, the customers and the orders in tables.
the internet | The internet is a worldwide network of computers that exchange data by common rules. | Sending an email is an example. The message is cut into packets, which travel through many computers to the receiver.
a computer | A computer is a machine that follows a program to work with data. | A phone is an example. It runs many programs to take pictures, play music and send messages.
a programming language | A programming language is a language in which people write instructions for computers. | Python is an example. The line print("Hello") tells the computer to show the word Hello.
Python | Python is a programming language that is known for its clear and simple syntax. | The line print("Hello, world!") is a whole Python program. It shows the greeting on the screen.
Rust | Rust is a programming language that is fast and checks at compile time that memory is used safely. | The line fn main() { println!("Hello, world!"); } is a whole Rust program. It prints the greeting.
photosynthesis | Photosynthesis is how plants use sunlight to turn water and carbon dioxide into sugar and oxygen. | A leaf of an oak tree in the sun is an example. It makes sugar for the tree and gives oxygen to the air.
gravity | Gravity is the force that pulls things with mass towards each other. | An apple that falls from a tree is an example. The Earth pulls it down.
a prime number | A prime number is a number greater than 1 that only 1 and itself divide without a rest. | The number 7 is an example. Only 1 and 7 divide it.
a fraction | A fraction is a part of a whole, written as one number over another. | One half, written 1/2, is an example. It means one of two equal parts.
a language model | A language model is a program that predicts the next piece of a text. By doing so again and again, it can write. | I am an example. I am a very small language model, so I know only a few things.
an atom | An atom is the smallest piece of a chemical element. It has a nucleus with electrons around it. | Hydrogen is the simplest example. Its atom has one proton and one electron.
democracy | Democracy is a form of government in which the people decide, mostly by electing those who govern. | An election is an example. The citizens vote, and the candidates with the most votes form the government.
evolution | Evolution is how living things change over many generations, because those that fit their world better leave more children. | The long neck of the giraffe is a famous example. It helps to reach leaves that are high up.""".splitlines())

ASK_CONCEPT = ("What is {c}?", "Explain {c}.", "Can you explain {c}?", "Tell me what {c} is.", "What does {c} mean?", "Explain {c} in simple terms.",
               "Please explain what {c} is.", "Describe {c}.")
ASK_EXAMPLE = ("Can you give an example?", "Give me an example.", "Can you give me an example?", "What is an example?", "For example?",
               "Could you give an example?")

SMALL_TALK = tuple(tuple(line.split(" | ")) for line in """Hello | Hi | Hello! | Hi there | Hey | Good day | Hello! How can I help you?
Good morning | Good morning! | Good morning! How can I help you?
Good evening | Good evening! | Good evening! How can I help you?
How are you? | How are you today? | How do you do? | I am a program, so I have no feelings, but I am ready to help. What can I do for you?
Who are you? | What are you? | Introduce yourself. | I am a very small language model that comes with SmallMind. I can tell stories, do simple mathematics, write small Python functions and answer simple questions.
What can you do? | What do you know? | How can you help me? | I can tell short stories, solve simple equations, do arithmetic, write small Python functions and answer simple questions.
What is your name? | Do you have a name? | What are you called? | I am the demo model of SmallMind.
Thank you | Thanks | Thank you very much | Thanks a lot | Thank you! | You are welcome!
Goodbye | Bye | See you later | Good night | Goodbye! Have a nice day.
Are you a human? | Are you a person? | Are you real? | No, I am a computer program, a very small language model.
Tell me a joke. | Do you know a joke? | Make me laugh. | Why did the computer go to the doctor? Because it had a virus!""".splitlines())

UNKNOWN_TOPICS = """the weather tomorrow|the price of gold today|the stock market|my bank account|the winner of the next election|the score of the game last night|
your favorite food|the meaning of my dream|the news of today|the lottery numbers|the population of my town|the best restaurant near me|my birthday|
the name of my neighbor|quantum chromodynamics|the history of the Ottoman tax code|the plot of that movie|the lyrics of that song|the phone number of the mayor|
the president of the moon|the train to the city|the latest phone|my homework in biology|the rules of cricket|the price of a house|tax law|medicine for a headache|
the traffic this morning|the current time|the date today|a flight to the coast|the stars in that picture|the best football team""".replace("\n", "").split("|")
ASK_UNKNOWN = ("What do you know about {t}?", "Tell me about {t}.", "What can you say about {t}?", "Can you help me with {t}?", "I want to know about {t}.",
               "Do you know {t}?", "What about {t}?")
I_DO_NOT_KNOW = ("I'm sorry, I don't know. I am a very small model, and I can only tell stories, do simple mathematics, write small Python functions "
                 "and answer simple questions.")


def capital(rng: Random) -> Item:
    """A question for a capital."""
    country, city = rng.choice(tuple(CAPITALS.items()))
    question = rng.choice(ASK_CAPITAL).format(c=country)
    end = "" if city.endswith(".") else "."
    key = ALWAYS + question if question.startswith("What is") else question
    return Item("fact", key, (question, f"The capital of {country} is {city}{end}"), answer=city)


def fact(rng: Random) -> Item:
    """A simple fact."""
    *questions, answer = rng.choice(FACTS)
    question = rng.choice(questions)
    key = ALWAYS + question if question == questions[0] else question
    return Item("fact", key, (question, answer), answer=answer)


def concept(rng: Random) -> Item:
    """A concept, and often an example as the second turn."""
    name, meaning, example = rng.choice(CONCEPTS)
    question = rng.choice(ASK_CONCEPT).format(c=name)
    turns = (question, meaning)
    if rng.random() < 0.6:
        turns += (rng.choice(ASK_EXAMPLE), example)
    return Item("concept", ALWAYS + question, turns, answer=turns[-1])


def small_talk(rng: Random) -> Item:
    """Greetings and questions about the model itself."""
    *questions, answer = rng.choice(SMALL_TALK)
    return Item("small_talk", ALWAYS + answer, (rng.choice(questions), answer), answer=answer)


def unknown(rng: Random) -> Item:
    """Something that the model does not know, and says so."""
    topic = rng.choice(UNKNOWN_TOPICS)
    return Item("unknown", topic, (rng.choice(ASK_UNKNOWN).format(t=topic), I_DO_NOT_KNOW), answer=I_DO_NOT_KNOW)
