"""The words of the letter. The firm, the ship and the people are invented."""

from __future__ import annotations

FIRM = "Fathom & Lorne"
TRADE = "Marine Surveyors and Diving Contractors"
ADDRESS = ("3 Capstan Row, Kelwick", "Telephone 0555 0142", "office@fathom-lorne.example")
STAMP = "11 DEC 2024"
FOLLOWING = "Mr T. Arrendale, 9 December 2024"
BOLLARD = "Replace bollard 4C and its bolts"

# Item and cost in euros.
COSTS = (
    ("Two fender panels, with chains", 18600),
    ("Diving and underwater repair, 4 days", 9400),
    (BOLLARD, 7850),
    ("Patch concrete of quay edge", 3275),
)

PAGES: tuple[tuple[tuple[str, str, dict[str, str]], ...], ...] = (
    (
        ("", "9 December 2024<br/>Our reference: FL/2417", {}),
        ("space", "", {}),
        (
            "",
            "Mr T. Arrendale<br/>Harbour Master<br/>Kelwick Harbour Authority<br/>Custom House, "
            "1 Pierhead<br/>Kelwick",
            {},
        ),
        ("", "Dear Mr Arrendale,", {}),
        ("subject", "Ropewalk Quay, berth 4: damage survey of 4 December", {}),
        (
            "",
            "Thank you for your call of 28 November. As agreed, we surveyed the quay wall at "
            "berth 4 from above and below water on Wednesday 4 December, between 0815 and low "
            "water at 1140. Visibility under water was about one metre.",
            {},
        ),
        (
            "",
            "The damage was done on the evening of 27 November, when the timber carrier Alder "
            "Reach came alongside in a north-westerly gale and landed heavily on her port "
            "quarter. Your pilot's report gives her speed at contact as 0.4 metres per second, "
            "which is about twice what these fenders were designed to absorb.",
            {},
        ),
        (
            "",
            "We found the following. Fender panel 7 has been torn from its upper fixings and "
            "hangs on one chain. Panel 8 is split along its whole height. The concrete edge "
            "behind them has broken away over a length of 2.3 metres, and two bars of the "
            "reinforcement are bare, though not bent.",
            {
                "letter_edge": "The concrete edge behind them has broken away over a length of 2.3 "
                "metres"
            },
        ),
        (
            "",
            "Bollard 4C is the more serious matter. It was not struck, but the stern line took "
            "the ship's full weight as she swung. Two of its six holding bolts have sheared, and "
            "there is a crack in the casting which we could follow by hand for 19 centimetres.",
            {},
        ),
    ),
    (
        (
            "",
            "Until bollard 4C has been replaced, we advise that no line be put on it at all, and "
            "that ships longer than 120 metres be sent to berth 5. Smaller ships may lie at "
            "berth 4 if they keep clear of the last thirty metres of the quay.",
            {},
        ),
        (
            "",
            "The sheet piling below water is sound. We measured its thickness at fourteen points, "
            "and the thinnest reading, 11.2 millimetres, leaves a fair margin. Some scour was "
            "seen at the toe of the wall, no deeper than half a metre; it is old, and does not "
            "come from this accident.",
            {},
        ),
        ("", "We estimate the cost of repair as follows, in euros:", {}),
        ("costs", "", {}),
        (
            "",
            "Panels of this pattern are made to order and take seven weeks. If we have your word "
            "before Christmas, the divers can begin on Monday 17 February, when the tides serve, "
            "and the berth could be given back by the end of that week.",
            {},
        ),
        (
            "",
            "Photographs and the thickness readings are enclosed. I should be glad to go through "
            "them with you on the quay.",
            {},
        ),
        ("", "Yours sincerely,", {}),
        ("signature", "", {}),
        ("", "Orla Fathom<br/>Chartered Marine Surveyor", {}),
        ("", "Enclosures: 16 photographs, 1 table of readings", {}),
    ),
)
