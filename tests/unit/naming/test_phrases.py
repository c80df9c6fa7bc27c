"""Phrases: names of things, as models and data sets give them, are told from other text."""

import pytest

from lae_tasks.annotations.xview_classes import CATEGORIES
from lae_tasks.naming.phrases import is_name
from tests.unit.naming.real_names import REAL_NAMES

NAMES = """
airplane
ground track field
car park next to a building
T-junction
baseball-diamond
Expressway-Service-area
Expressway-toll-station
large vehicle
container crane
storage tank (round)
roll-on/roll-off ship
Boeing737
A220
C919
Liquid Cargo Ship
soccer ball field
residential building with a red roof
building that is being demolished
parking lot with many cars and few trees
IT building
I-beam
I'Anson bridge
trash can
can factory
St. Peter's church
No. 5 dry dock
Approx. ten boats
Bldg. 5
Dept. store
Inst. of Technology
farmer's market
Olympic-size swimming pool
7-Eleven
3D-printed house
U.S. military base
café
机场
корабль
parking lot #2
object
other vehicle
unpaved road & path
half-timbered house
seesaw
shows ground
mayor's office
Willow tree
thistle field
hereford cattle
thistles
unpaved road
unfinished house
no-parking zone
noise barrier
knot garden
nonagonal tower
notary's office
clear-cut forest
tomb of the unknown soldier
iron ore, stockpiled
airplane with open cargo door
red-roofed house
parking lot with cars
soccer field with running track
container ship at berth
half-empty parking lot
cloud
cloud shadow
shadow of a building
bare soil
dark asphalt
dark green lawn
black roof
blank wall
empty lot
empty field
white van
noisy road
low-rise building
low-lying land
fuzzy vegetation
blurred edge of a lake
too-wide road verge
aerial ropeway
satellite dish
image processing centre
picture house
photo studio
camera tower
object storage
label factory
class room
type foundry
category 5 hurricane damage
name board
hard standing
hard shoulder
hardstand
hard court
difficult terrain
hard to reach plot
sure-start centre
unsurfaced road
uncultivated land
undeveloped plot
unloading bay
universal crane
university campus
unicorn statue
unit
uncovered reservoir
undergrowth
underpass
union jack
tomb of the unknown soldier
clear-cut forest
visible pipe
nuclear-free zone sign
information kiosk
tourist information
classified ad board
determined by survey point
solar panel array
hotel 1.5 km away
""".strip().splitlines()

NO_NAMES = """
not recognized
Not recognisable
unknown object
Unidentified structure
none of the above
not identifiable
object not visible
No recognizable object
insufficient information
N.A.
n / a
undetermined
not clear enough
I'm sorry, but I cannot identify the object
I’m unable to tell
I am not sure
I can't determine the category.
I don't know
I'll not say
We've no idea
Sorry, no
Unfortunately the image is too blurry
As an AI language model I have no eyes
It is a ship
It's a ship
It appears to be a road
This is a building
this image shows a field
These are cars
There are several vehicles
There is no object
Here is the answer
You can see a ship
We see water
The image shows a parking lot
The image does not show anything
An object is visible
the region appears to be water
a ship. It lies at the pier
Ship! The hull is long
这是一艘船。它很长
the roof is grey
could be a truck
a truck or it may be a bus
cannot be determined
something which cannot be named isn't here
unable to classify
not enough information
based on the colour, water
https://example.com/ship
www.example.com
ship.example.com
someone@example.com
{"category": "ship"}
<ship>
**ship**
`ship`
[ship]
ship | boat
__ship__
none
None.
N/A
n/a
null
unknown
(Unknown)
nothing
not applicable
...
42
0.95
-
12 / 7
one two three four five six seven eight nine
too blurry
hard to tell
unsure
blurry image
category: ship
ship 0.9
Too dark to see
too small
hard to say what it is
difficult to determine
Blurry, hard to tell
blurry
blurred
blurred image
a blurry object
very blurry area
unclear object
unclear image
unclear
indistinct
indistinct shape
low resolution image
low-quality picture
black image
blank picture
empty crop
Unsure.
unsure object
not sure
object category: ship
Label: ship
Name: ship
class: ship
Answer: ship
ship (0.9)
ship, 0.95
ship: 0.8
ship 90%
ship .8
ship 1.0
ship 95 %
unclassified
unclassified object
unclassifiable
Unclassified structure
indistinguishable
indiscernible
impossible to tell
unidentified
a too blurry image
likelihood: 0.9
type: vehicle
""".strip().splitlines()


@pytest.mark.parametrize("name", [*NAMES, *REAL_NAMES, *CATEGORIES.values()])
def test_a_name_of_a_thing_is_one(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "text", [*NO_NAMES, "", " ", "ship\nboat", "ship\\n", "\N{SHIP}", 40 * "ship"]
)
def test_other_text_is_none(text: str) -> None:
    assert not is_name(text)


def test_how_many_words_a_name_has_can_be_said() -> None:
    assert is_name("car park next to a building", 6)
    assert not is_name("car park next to a building", 5)
