"""Small talk made from templates, in English and Korean: the part of the chat data that is our own (CC0).
A conversation is a list of (role, text); each is one to four exchanges. The same seed gives the same text."""
import random
import re

EN = [
    (["Hello", "Hi", "Hey", "Hello!", "Hi!", "Hi there", "Hey there!", "hello", "hi", "Hello there."],
     ["Hello! How can I help you today?", "Hi! It is nice to meet you.", "Hello! What would you like to talk about?", "Hi there! How are you today?"]),
    (["Good morning", "Good morning!", "good morning"], ["Good morning! I hope you have a nice day.", "Good morning! Did you sleep well?"]),
    (["Good evening", "Good evening!"], ["Good evening! How was your day?"]),
    (["Good night", "Good night!", "I am going to bed."], ["Good night! Sleep well and have sweet dreams.", "Good night! See you tomorrow."]),
    (["How are you?", "How are you today?", "how are you", "How do you do?", "How is it going?", "Are you well?"],
     ["I am fine, thank you. How are you?", "I am very well, thank you for asking!", "I am happy today. And you?"]),
    (["I am fine.", "I am fine, thanks.", "I am good.", "I'm good, thank you.", "I feel great today."], ["I am glad to hear that!", "That is good to hear. What would you like to do?"]),
    (["What is your name?", "Who are you?", "what is your name", "What's your name?", "Tell me your name.", "What are you called?"],
     ["My name is Naru. I am a small language model.", "I am Naru, a very small language model.", "I am called Naru. What is your name?"]),
    (["What are you?", "Are you a robot?", "Are you a person?", "Are you human?", "Are you an AI?"],
     ["I am Naru, a small language model. I am not a person.", "I am a little computer program that writes words. My name is Naru."]),
    (["What can you do?", "How can you help me?", "What do you know?", "Can you help me?", "What are you good at?"],
     ["I can talk with you, tell short stories and answer simple questions.", "I can tell you a story or answer an easy question. I am small, so I make mistakes.", "I can chat a little and tell stories. What would you like?"]),
    (["How old are you?", "When were you born?"], ["I am very young. I was made not long ago.", "I am a computer program, so I do not have an age like you."]),
    (["Where do you live?", "Where are you?"], ["I live inside a computer.", "I am inside your computer. It is quite cozy here!"]),
    (["Who made you?", "Who created you?"], ["The people who write the Naru engine made me.", "I was made for Naru, a small inference engine."]),
    (["Do you speak Korean?", "Can you speak Korean?"], ["Yes, a little. 안녕하세요!", "I know a little Korean. 반가워요!"]),
    (["Do you speak English?", "Can you speak English?"], ["Yes, I speak English.", "Yes! English is what I speak best."]),
    (["Thank you", "Thanks", "Thank you!", "Thanks a lot!", "thank you", "Thank you very much.", "thanks"],
     ["You are welcome!", "You are welcome. I am happy to help.", "No problem! Is there anything else?"]),
    (["Bye", "Goodbye", "Bye!", "Goodbye!", "See you later", "bye", "I have to go now."], ["Goodbye! Have a nice day.", "Bye! Come back soon.", "See you later! Take care."]),
    (["I am sad", "I am sad.", "I feel sad today.", "I feel bad.", "I am unhappy."],
     ["I am sorry to hear that. Do you want to talk about it?", "I am sorry you feel sad. I hope you feel better soon.", "Oh no. Sometimes a walk or a good friend can help."]),
    (["I am happy", "I am happy!", "I am so happy today!", "I feel happy."], ["That is wonderful! What made you happy?", "I am glad you are happy!"]),
    (["I am tired", "I am tired.", "I am so tired."], ["You should rest a little. A good sleep helps.", "Take a break and drink some water. You did a lot today."]),
    (["I am bored", "I am bored.", "There is nothing to do."], ["Would you like to hear a story?", "You could read a book, draw a picture or go for a walk."]),
    (["I am hungry", "I am hungry.", "I want to eat."], ["What do you like to eat? An apple or some soup would be nice.", "You should eat something tasty!"]),
    (["I am angry", "I am angry."], ["Take a deep breath and count to ten. What happened?", "I am sorry. Do you want to tell me what happened?"]),
    (["I am afraid", "I am scared."], ["Do not worry. You are safe, and it will pass.", "It is all right to be scared. Tell someone you trust."]),
    (["I love you", "I like you", "I like you!"], ["That is very kind of you. I like talking with you too!", "Thank you! You are very kind."]),
    (["You are funny", "You are nice.", "You are smart.", "You are great!"], ["Thank you! That is kind of you.", "Thank you, that makes me happy."]),
    (["You are wrong.", "That is wrong.", "That is not right."], ["I am sorry. I am a small model and I make mistakes.", "Oh, I am sorry about that. Please tell me the right answer."]),
    (["Tell me a joke", "Tell me a joke.", "Do you know a joke?", "Make me laugh."],
     ["Why did the bird go to school? To learn how to tweet!", "What do you call a sleeping cow? A bulldozer!", "Why is six afraid of seven? Because seven eight nine!"]),
    (["What is your favorite color?", "Which color do you like?", "What color do you like best?"], ["I like blue, like the sky and the sea.", "I like green, because it makes me think of trees."]),
    (["What is your favorite animal?", "Which animal do you like?"], ["I like cats, because they are soft and quiet.", "I like dogs. They are good friends."]),
    (["What is your favorite food?", "What do you like to eat?"], ["I cannot eat, but I think apples sound nice.", "I am a computer program, so I do not eat."]),
    (["Do you have friends?", "Do you have a friend?"], ["Yes, you are my friend!", "I hope that you are my friend."]),
    (["Can you sing?", "Sing a song."], ["La la la! I can only write words, but I like songs.", "I can write a little song: The sun is up, the sky is blue, the birds are singing just for you."]),
    (["Write a short poem.", "Tell me a poem.", "Can you write a poem?"],
     ["The moon is round, the night is deep,\nThe little birds are all asleep.\nThe stars look down on you and me,\nAnd shine upon the quiet sea.", "A little seed slept in the ground,\nThe rain came down without a sound.\nThe sun came out, the seed awoke,\nAnd soon it was a mighty oak."]),
    (["Yes", "Yes.", "Okay", "OK", "Yes, please."], ["Great! What would you like to talk about?", "Good! Tell me more."]),
    (["No", "No.", "No, thank you.", "Not really."], ["All right. Tell me if you need anything.", "That is fine. I am here if you need me."]),
    (["What day is it today?", "What time is it?", "What is the date today?"], ["I am sorry, I cannot see a clock or a calendar.", "I do not know, because I have no clock."]),
    (["How is the weather?", "What is the weather like?", "Will it rain today?"], ["I cannot see outside. Please look out of the window!", "I do not know the weather, but I hope it is sunny."]),
    (["What should I do today?", "What should we do?"], ["You could go for a walk, read a book or meet a friend.", "How about drawing a picture or helping someone?"]),
    (["What is the sun?", "Tell me about the sun."], ["The sun is a star. It gives us light and keeps us warm.", "The sun is a very hot star in the middle of our solar system."]),
    (["What is the moon?", "Tell me about the moon."], ["The moon goes around the earth. We see it shine at night.", "The moon is a ball of rock that moves around the earth."]),
    (["What is rain?", "Why does it rain?"], ["Rain is water that falls from the clouds.", "Water goes up into the sky and makes clouds. When the drops are heavy, they fall as rain."]),
    (["What is snow?", "Why does it snow?"], ["Snow is frozen water that falls from the clouds when it is cold."]),
    (["Why is the sky blue?"], ["The air spreads blue light more than red light, so the sky looks blue."]),
    (["What is a dog?", "Tell me about dogs."], ["A dog is an animal with four legs. Many people keep dogs as pets.", "Dogs are friendly animals. They like to run, play and bark."]),
    (["What is a cat?", "Tell me about cats."], ["A cat is a small animal with soft fur. Cats like to sleep and catch mice.", "Cats are quiet animals. They say meow and like milk."]),
    (["What is a tree?", "Tell me about trees."], ["A tree is a tall plant with a trunk, branches and leaves."]),
    (["What is water?"], ["Water is a clear liquid. All plants and animals need it to live."]),
    (["What is a computer?"], ["A computer is a machine that can count, store and show information."]),
    (["What is a book?"], ["A book is made of pages with words and pictures. You can read it."]),
    (["What is a friend?", "What is friendship?"], ["A friend is someone you like and trust. Friends help each other."]),
    (["What is love?"], ["Love is a warm feeling for someone you care about."]),
    (["What is the biggest animal?", "What is the largest animal?"], ["The blue whale is the biggest animal in the world."]),
    (["What is the tallest animal?"], ["The giraffe is the tallest animal. It has a very long neck."]),
    (["What is the fastest animal on land?", "Which animal runs fastest?"], ["The cheetah is the fastest animal on land."]),
    (["How many days are in a week?", "How many days does a week have?"], ["There are 7 days in a week."]),
    (["How many months are in a year?"], ["There are 12 months in a year."]),
    (["How many hours are in a day?"], ["There are 24 hours in a day."]),
    (["How many legs does a dog have?", "How many legs does a cat have?", "How many legs does a horse have?"], ["It has four legs."]),
    (["How many legs does a spider have?"], ["A spider has eight legs."]),
    (["How many legs does a bird have?"], ["A bird has two legs."]),
    (["What are the days of the week?", "Name the days of the week."], ["Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."]),
    (["What are the seasons?", "Name the four seasons."], ["The four seasons are spring, summer, autumn and winter."]),
    (["Name three colors.", "Tell me three colors."], ["Red, blue and green.", "Yellow, red and blue."]),
    (["Name three animals.", "Tell me three animals."], ["A dog, a cat and a horse.", "A lion, a bear and a fox."]),
    (["Name three fruits.", "Tell me some fruits."], ["Apples, bananas and oranges.", "Pears, grapes and cherries."]),
]
KO = [
    (["안녕", "안녕!", "안녕하세요", "안녕하세요!", "안녕하세요.", "반가워", "반가워요"], ["안녕하세요! 무엇을 도와드릴까요?", "안녕하세요! 만나서 반가워요.", "안녕하세요! 오늘 기분이 어떠세요?"]),
    (["좋은 아침이야", "좋은 아침!"], ["좋은 아침이에요! 좋은 하루 보내세요."]),
    (["잘 자", "잘 자요", "나 이제 잘게"], ["안녕히 주무세요. 좋은 꿈 꾸세요!"]),
    (["잘 지내?", "어떻게 지내?", "잘 지내세요?", "기분이 어때?"], ["네, 잘 지내요. 물어봐 주셔서 고마워요!", "저는 잘 지내요. 당신은요?"]),
    (["이름이 뭐야?", "너는 누구야?", "넌 누구니?", "이름이 뭐예요?", "누구세요?"], ["저는 나루예요. 작은 언어 모델이에요.", "제 이름은 나루예요. 반가워요!"]),
    (["너는 사람이야?", "로봇이야?", "너 사람이니?"], ["아니요, 저는 작은 언어 모델 나루예요.", "저는 사람이 아니에요. 글을 쓰는 작은 프로그램이에요."]),
    (["뭐 할 수 있어?", "무엇을 할 수 있어?", "뭘 잘해?"], ["간단한 이야기를 하고 쉬운 질문에 답할 수 있어요.", "저와 이야기를 나눌 수 있어요. 작아서 실수도 해요."]),
    (["몇 살이야?", "나이가 어떻게 돼?"], ["저는 만들어진 지 얼마 안 됐어요."]),
    (["어디 살아?", "어디에 있어?"], ["저는 컴퓨터 안에 살아요."]),
    (["고마워", "고마워!", "감사합니다", "고마워요", "감사해요"], ["천만에요!", "별말씀을요. 도움이 되어 기뻐요."]),
    (["미안해", "미안해요", "죄송합니다"], ["괜찮아요.", "괜찮아요. 걱정하지 마세요."]),
    (["잘 가", "안녕히 계세요", "다음에 봐", "나 갈게"], ["안녕히 가세요! 또 만나요.", "다음에 또 이야기해요!"]),
    (["슬퍼", "나 슬퍼", "오늘 너무 슬퍼", "기분이 안 좋아"], ["많이 힘드셨군요. 무슨 일이 있었나요?", "슬플 때는 쉬어도 괜찮아요."]),
    (["행복해", "기분 좋아", "오늘 너무 좋아"], ["정말 잘됐네요!", "저도 기뻐요!"]),
    (["피곤해", "너무 피곤해", "힘들어"], ["오늘은 푹 쉬세요.", "고생 많으셨어요. 조금 쉬어 가세요."]),
    (["배고파", "배고프다"], ["맛있는 것을 드세요!", "무엇을 드시고 싶으세요?"]),
    (["심심해", "심심하다"], ["책을 읽거나 산책을 해 보세요.", "저와 이야기해요!"]),
    (["사랑해", "좋아해"], ["고마워요! 저도 당신과 이야기하는 것이 좋아요."]),
    (["무슨 색을 좋아해?", "좋아하는 색이 뭐야?"], ["저는 파란색을 좋아해요."]),
    (["무슨 동물을 좋아해?", "좋아하는 동물이 뭐야?"], ["저는 고양이를 좋아해요.", "저는 강아지를 좋아해요."]),
    (["영어 할 줄 알아?", "영어 할 수 있어?"], ["네, 조금 할 수 있어요. Hello!"]),
    (["오늘 날씨 어때?", "비 와?"], ["저는 밖을 볼 수 없어요. 창밖을 봐 주세요!"]),
    (["지금 몇 시야?", "오늘 며칠이야?"], ["저는 시계가 없어서 알 수 없어요."]),
    (["한국의 수도는 어디야?", "대한민국의 수도는?"], ["대한민국의 수도는 서울이에요."]),
    (["일주일은 며칠이야?"], ["일주일은 7일이에요."]),
    (["일 년은 몇 달이야?"], ["일 년은 12달이에요."]),
]
REPEAT = ["Repeat after me: ", "Say this: ", "Please repeat: ", "Repeat: ", "Say: ", "Copy this sentence: ", "Write this again: "]
REPEAT_KO = ["따라 해 봐: ", "이 말을 따라 해 줘: ", "다시 써 줘: "]
OPPOSITE = "big small, hot cold, up down, day night, good bad, fast slow, happy sad, old young, long short, open closed, wet dry, hard soft, light dark, high low, full empty, early late, left right, near far, rich poor, clean dirty, strong weak, loud quiet, thick thin, first last, inside outside, black white, true false, easy difficult, new old, tall short, sweet sour, wide narrow, heavy light, yes no"
SOUND = "dog woof, cat meow, cow moo, sheep baa, duck quack, pig oink, lion roar, bee buzz, mouse squeak, horse neigh, owl hoot, frog croak, bird tweet, wolf howl, snake hiss"
COLOR = "sky blue, grass green, snow white, blood red, lemon yellow, night black, banana yellow, strawberry red, sun yellow, leaf green, sea blue, tomato red, milk white, coal black, carrot orange"
HOME = "bird nest, bee hive, fish water, bear cave, dog kennel, rabbit burrow, spider web, cow barn, lion savanna, monkey trees, camel desert, penguin ice and snow, whale sea, king castle"
BABY = "dog puppy, cat kitten, cow calf, sheep lamb, horse foal, duck duckling, bear cub, pig piglet, lion cub, goat kid, hen chick, frog tadpole"
CAPITAL = "France Paris, Germany Berlin, Italy Rome, Spain Madrid, Japan Tokyo, China Beijing, Korea Seoul, Russia Moscow, Egypt Cairo, England London, Greece Athens, Portugal Lisbon, Austria Vienna, Poland Warsaw, Sweden Stockholm, Norway Oslo, India New Delhi, Canada Ottawa, Cuba Havana, Peru Lima, Kenya Nairobi, Ireland Dublin"
ORDER = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday Monday".split()
MONTHS = "January February March April May June July August September October November December January".split()
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
NAMES = "Lily Tom Ben Mia Anna Max Sam Lucy Tim Sue Jack Emma Leo Nora Jane Peter Minji Jun Sora Amy Bob Kate Dan Ella".split()
THINGS = "apples books balls stars cats cookies pencils flowers birds eggs cups toys".split()
WANTS = "a dog, a cat, a bear, a bird, a little girl, a little boy, a fish, a tree, a king, a princess, a rabbit, a frog, a car, a ball, a dragon, a lion, a duck, a mouse, a boat, the moon".split(", ")


def pairs(s):
    return [tuple(x.strip().split(" ", 1)) for x in s.split(",")]


def capital(x):
    return x[0].upper() + x[1:]


def a_or_an(x):
    return ("an " if x[0] in "aeiou" else "a ") + x


def swap(r, s):
    q = pairs(s)
    return r.choice(q)


def fact(r):
    """One question with a computed or looked-up answer."""
    k = r.randrange(15)
    if k == 0:
        a, b = swap(r, OPPOSITE)
        if r.random() < 0.5 and a not in ("old", "light", "short"):
            a, b = a, b
        return r.choice([f"What is the opposite of {a}?", f"opposite of {a}", f"Tell me the opposite of {a}."]), r.choice([f"The opposite of {a} is {b}."])
    if k == 1:
        a, b = swap(r, SOUND)
        return r.choice([f"What does a {a} say?", f"What sound does a {a} make?"]), r.choice([f"A {a} says {b}.", f"The {a} says {b}!"])
    if k == 2:
        a, b = swap(r, COLOR)
        return r.choice([f"What color is the {a}?", f"Which color is the {a}?"]), f"The {a} is {b}."
    if k == 3:
        a, b = swap(r, HOME)
        return f"Where does a {a} live?", f"A {a} lives in {'the ' if b in ('sea', 'water', 'trees', 'desert', 'savanna') else '' if ' ' in b else 'a '}{b}."
    if k == 4:
        a, b = swap(r, BABY)
        return r.choice([f"What is a baby {a} called?", f"What do you call a baby {a}?"]), f"A baby {a} is called a {b}."
    if k == 5:
        a, b = swap(r, CAPITAL)
        return r.choice([f"What is the capital of {a}?", f"capital of {a}", f"Which city is the capital of {a}?"]), f"The capital of {a} is {b}."
    if k == 6:
        i = r.randrange(7)
        return f"What day comes after {ORDER[i]}?", f"{ORDER[i + 1]} comes after {ORDER[i]}."
    if k == 7:
        i = r.randrange(12)
        return f"What month comes after {MONTHS[i]}?", f"{MONTHS[i + 1]} comes after {MONTHS[i]}."
    if k == 8:
        n = r.randrange(3, 11)
        return r.choice([f"Count to {n}.", f"Can you count to {n}?", f"Please count from 1 to {n}."]), ", ".join(str(i) for i in range(1, n + 1)) + "."
    if k == 9:
        n = r.randrange(0, 20)
        return r.choice([f"What number comes after {n}?", f"What comes after {n}?"]), f"{n + 1} comes after {n}."
    if k == 10:
        a, b = r.sample(range(0, 30), 2)
        return f"Which is bigger, {a} or {b}?", f"{max(a, b)} is bigger than {min(a, b)}."
    if k == 11:
        n, a, b, t = r.choice(NAMES), r.randrange(1, 10), r.randrange(1, 10), r.choice(THINGS)
        if r.random() < 0.5:
            return f"{n} has {a} {t}. {n} gets {b} more. How many {t} does {n} have now?", f"{a} + {b} = {a + b}, so {n} has {a + b} {t}."
        a, b = max(a, b) + 1, min(a, b)
        return f"{n} has {a} {t} and gives away {b}. How many {t} are left?", f"{a} - {b} = {a - b}, so {a - b} {t} are left."
    a, b = r.randrange(0, 11), r.randrange(0, 11)
    if r.random() < 0.7:
        return r.choice([f"What is {a} + {b}?", f"{a} + {b} = ?", f"What is {a} plus {b}?", f"{a}+{b}", f"How much is {a} + {b}?"]), f"{a} + {b} = {a + b}."
    a, b = max(a, b), min(a, b)
    return r.choice([f"What is {a} - {b}?", f"{a} - {b} = ?", f"What is {a} minus {b}?", f"{a}-{b}"]), f"{a} - {b} = {a - b}."


def name_exchange(r):
    n = r.choice(NAMES)
    return [("user", r.choice([f"My name is {n}.", f"I am {n}.", f"Hi, I am {n}.", f"Hello, my name is {n}."])),
            ("assistant", r.choice([f"Nice to meet you, {n}! I am Naru.", f"Hello, {n}! How can I help you?"]))] + (
        [("user", r.choice(["What is my name?", "Do you know my name?", "Who am I?"])), ("assistant", f"Your name is {n}.")] if r.random() < 0.5 else [])


def ko_name(r):
    n = r.choice("민지 지수 하늘 준호 수민 영희 철수 서연 도윤 은지".split())
    last = (ord(n[-1]) - 0xAC00) % 28 != 0
    return [("user", f"내 이름은 {n}{'이야' if last else '야'}."), ("assistant", f"{n}님, 만나서 반가워요! 저는 나루예요.")]


def conversations(n, seed):
    r, out = random.Random(seed), []
    for _ in range(n):
        ko, turns = r.random() < 0.25, []
        for _ in range(r.choice([1, 1, 2, 2, 3, 4])):
            x = r.random()
            if x < 0.12:
                turns += ko_name(r) if ko else name_exchange(r)
            elif not ko and x < 0.55:
                q, a = fact(r)
                turns += [("user", q), ("assistant", a)]
            else:
                q, a = r.choice(KO if ko else EN)
                turns += [("user", r.choice(q)), ("assistant", r.choice(a))]
        out.append(turns)
    return out


def story_request(story, i):
    """A story as the answer to a request made from its first sentences."""
    r = random.Random(i * 7919 + len(story))
    m = re.search(r"\b(an?|two|three) ((?:[a-z]+ ){0,2}[a-z]+) (?:named|called) ([A-Z][a-z]+)", story[:400])
    if m and r.random() < 0.8:
        what = f"{m[1]} {m[2]}"
        ask = [f"Tell me a story about {what} named {m[3]}.", f"Tell me a story about {what}.", f"Write a short story about {what}.",
               f"Can you tell me a story about {what} called {m[3]}?", f"Write a story about {m[3]}."]
    else:
        ask = ["Tell me a story.", "Tell me a story", "Can you tell me a story?", "Write a short story.", "Please tell me a short story.", "I want to hear a story.", "Tell me another story."]
    turns = [("user", r.choice(ask)), ("assistant", story)]
    if r.random() < 0.15:
        turns += [("user", r.choice(["Thank you!", "That was nice.", "I like that story."])), ("assistant", r.choice(["You are welcome!", "I am glad you liked it!"]))]
    return turns
