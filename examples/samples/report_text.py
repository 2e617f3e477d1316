"""The words and figures of the annual report. The authority and all its figures are invented."""

from __future__ import annotations

from typing import Any

SECTIONS = {
    "statement": "Chair's statement",
    "trade": "Trade and cargo",
    "vessels": "Ships and waiting",
    "berths": "Berth register",
    "environment": "Environment",
    "finance": "Finance",
    "people": "People and safety",
}

COVER_FIGURES = (
    ("3.98 Mt", "cargo handled"),
    ("189.5k", "TEU over North Quay"),
    ("12", "working berths"),
)

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
TEU_2023 = (41.2, 44.0, 47.5, 43.1)
TEU_2024 = (44.6, 48.3, 45.9, 50.7)
WAIT_2023 = (4.6, 4.4, 4.2, 4.0, 4.1, 4.3, 4.5, 4.8, 4.7, 4.4, 4.3, 4.5)
WAIT_2024 = (4.1, 3.8, 3.6, 3.9, 4.4, 5.2, 7.8, 9.4, 6.7, 4.6, 4.0, 3.7)

# Commodity, thousand tonnes in 2023 and in 2024.
CARGO: tuple[tuple[str, int, int], ...] = (
    ("Containers", 1842, 1967),
    ("Timber and forest products<super rise='3' size='6'>1</super>", 612, 574),
    ("Grain and animal feed", 488, 531),
    ("Aggregates and cement", 405, 447),
    ("Offshore wind components", 96, 163),
    ("Liquid fuels", 350, 298),
)

INDICATORS = (
    (
        "Greenhouse gas emissions, scopes 1 and 2",
        "t CO<sub rise='1.5' size='6'>2</sub>e",
        "6,480",
        "5,310",
    ),
    ("Electricity from renewable sources", "%", "54", "78"),
    ("Ships connected to shore power", "calls", "0", "61"),
    ("Operational waste recycled", "%", "63", "71"),
    ("Mains water drawn", "thousand m³", "88.4", "81.7"),
    ("Oil spills reported to the regulator", "number", "3", "1"),
)

# Line, thousand euros in 2023 and in 2024.
INCOME: tuple[tuple[str, int, int], ...] = (
    ("Cargo dues", 14260, 15118),
    ("Vessel dues and pilotage", 8935, 9402),
    ("Property and leases", 6114, 6287),
    ("Marine services", 2870, 3051),
    ("Grants and other income<super rise='3' size='6'>3</super>", 1205, 846),
)
EXPENDITURE: tuple[tuple[str, int, int], ...] = (
    ("Staff", 11748, 12190),
    ("Maintenance dredging and survey", 2986, 3412),
    ("Cranes, plant and quay repairs", 4377, 5026),
    ("Energy", 2214, 1873),
    ("Insurance and professional fees", 1530, 1618),
    ("Depreciation", 5902, 6145),
)
FINANCE_COSTS = (1118, 1042)

# Name, office, end of the term, meetings attended of eight.
BOARD = (
    ("Rosalind Achterberg", "Chair", "2026", "8"),
    ("Colm Attery", "Member", "2027", "7"),
    ("Leopold Amstutz", "Member", "2025", "7"),
    ("Hanne Brisebois", "Member", "2027", "8"),
    ("Jorun Ekdal", "Chair of the audit committee", "2026", "8"),
    ("Davit Mulrooney", "Chief Executive", "in office", "8"),
    ("Philippa Oyelaran", "Member", "2024", "8"),
    ("Matthias Penhallow", "Member", "2025", "6"),
    ("Sabeen Rawthorne", "Vice-chair", "2026", "8"),
)

BERTH_COLUMNS = (
    "Berth",
    "Quay",
    "Main use",
    "Length (m)",
    "Depth alongside (m)",
    "Equipment",
    "Calls 2023",
    "Calls 2024",
    "Occupancy 2024 (%)",
    "Mean stay (h)",
    "Last inspected",
    "Next major works",
)
_REGISTER = """
1 | North Quay | Containers | 245 | 12.5 | Gantry 1
2 | North Quay | Containers | 245 | 12.5 | Gantry 2
3 | North Quay | Containers | 260 | 13.2 | Gantry 3
4 | Ropewalk Quay | Timber | 180 | 8.6 | Mobile crane, 63 t
5 | Ropewalk Quay | Timber | 165 | 8.4 | Mobile crane, 40 t
6 | Granary Quay | Grain | 190 | 9.8 | Ship loader, 600 t/h
7 | Granary Quay | Animal feed | 150 | 9.1 | Pneumatic unloader
8 | Stone Quay | Aggregates | 140 | 7.3 | Excavator and hopper
9 | Stone Quay | Cement | 120 | 6.9 | Pipeline, 200 t/h
10 | Wind Terminal | Wind components | 310 | 11.0 | Heavy-lift pad, 25 t/m²
11 | Oil Jetty | Liquid fuels | 210 | 10.4 | Marine loading arms
12 | Ferry Stage | Pilots, tugs, ferry | 95 | 5.2 | Linkspan
"""
_USE = """
188 | 196 | 43 | 19.4 | Mar 2024 | 2027, crane rail beam
181 | 193 | 44 | 19.8 | Mar 2024 | 2027, crane rail beam
204 | 187 | 46 | 21.6 | Nov 2024 | 2025, gantry control system
142 | 131 | 47 | 31.2 | Dec 2024 | 2025, fenders and bollards
118 | 109 | 41 | 33.0 | Jun 2024 | 2028, deck surfacing
97 | 108 | 50 | 40.5 | Feb 2024 | 2026, conveyor gallery
84 | 88 | 37 | 36.8 | Feb 2024 | None planned
156 | 171 | 29 | 14.7 | Sep 2023 | 2026, dust screens
63 | 70 | 20 | 25.1 | Sep 2023 | 2029, sheet piling
22 | 37 | 30 | 71.3 | Apr 2024 | 2026, pad extension
74 | 61 | 16 | 22.9 | Oct 2024 | 2030, decommissioning study
612 | 640 | 60 | 8.2 | May 2024 | 2025, linkspan bearings
"""
BERTHS: list[tuple[Any, ...]] = [
    tuple(int(part) if part.isdecimal() else part for part in f"{berth} | {use}".split(" | "))
    for berth, use in zip(_REGISTER.split("\n")[1:-1], _USE.split("\n")[1:-1], strict=True)
]

# Quay, left, bottom, width, height in points on the plan, berths, and whether they lie above it.
QUAYS: tuple[tuple[str, float, float, float, float, tuple[int, ...], bool], ...] = (
    ("North Quay", 20, 80, 300, 24, (1, 2, 3), False),
    ("Ropewalk Quay", 340, 80, 150, 24, (4, 5), False),
    ("Wind Terminal", 510, 80, 110, 24, (10,), False),
    ("Granary Quay", 20, 0, 170, 24, (6, 7), True),
    ("Stone Quay", 210, 0, 150, 24, (8, 9), True),
    ("Ferry Stage", 380, 0, 80, 24, (12,), True),
    ("Oil Jetty", 510, 0, 110, 20, (11,), True),
)

# By page: the key figures of the side column.
SIDE: dict[int, tuple[tuple[str, str], ...]] = {
    3: (("+4.9%", "total tonnage against 2023"), ("23", "countries traded with during the year")),
    4: (
        ("1,991", "commercial and service calls at the twelve berths"),
        ("99.2%", "of pilot orders met within thirty minutes of the time booked"),
    ),
    6: (
        ("\N{EN DASH}18%", "greenhouse gas emissions from our own operations"),
        ("412,000 m³", "of silt moved from the approach channel and berths"),
    ),
    7: (
        ("\N{EURO SIGN}34.7m", "total income"),
        ("\N{EURO SIGN}11.6m", "committed to quay renewal from 2025 to 2027"),
    ),
    8: (("214", "people employed on 31 December"), ("5", "apprentices joined in September")),
}

# By page: the footnotes, each with its marks.
NOTES: dict[int, tuple[tuple[str, dict[str, str]], ...]] = {
    3: (
        (
            "<super rise='3' size='5.5'>1</super> The timber figure for 2023 is restated. Last "
            "year's report gave 633 thousand tonnes, which counted 21 thousand tonnes of woodchip "
            "twice: once when it was landed from barges, and again when it was loaded for export.",
            {
                "note_timber": "counted 21 thousand tonnes of woodchip twice: once when it was "
                "landed from barges, and again when it was loaded for export."
            },
        ),
        (
            "<super rise='3' size='5.5'>2</super> TEU: twenty-foot equivalent unit. Empty boxes "
            "are included; boxes shifted within the yard are not.",
            {},
        ),
    ),
    7: (
        (
            "<super rise='3' size='5.5'>3</super> Grants in 2023 included a single payment of "
            "\N{EURO SIGN}410 thousand towards the Wind Terminal access road.",
            {},
        ),
        (
            "<super rise='3' size='5.5'>4</super> The pension scheme was last valued on 31 March "
            "2023, when it was 104 per cent funded.",
            {},
        ),
    ),
}

# By section: the kind of each piece, its text or the name of a part, and its marks.
PROSE: dict[str, tuple[tuple[str, str, dict[str, str]], ...]] = {
    "statement": (
        (
            "lead",
            "Kelwick handled more cargo in 2024 than in any year on record, and did so "
            " through a summer in which our busiest crane stood still for eleven weeks.",
            {},
        ),
        (
            "",
            "That sentence holds both halves of the year. Trade was strong: containers, grain, "
            "building materials and wind components all grew, and only timber and fuel fell. But "
            "the failure of the hoist drive on Gantry 3, from 2 July to 19 September, showed how "
            "little slack North Quay has when a single machine is lost. Ships waited, and some of "
            "our customers paid for it. I am grateful to them for their patience, and to the crane "
            "and planning teams, who moved a third of Gantry 3's work to nights at berths 1 and 2.",
            {},
        ),
        (
            "",
            "We have drawn two conclusions. The first is about spares. A replacement drive had to "
            "be built to order, because none was held in the harbour or by the maker. From 2025 "
            "the Authority will keep one full set of hoist spares in its own store, shared by the "
            "three gantries. The second is about warning. The drive had been running hot since "
            "February, and the reading was logged but never acted on. Alarms of that kind now go "
            "to the duty engineer and must be closed by name.",
            {},
        ),
        ("head", "A harbour that plugs in", {}),
        (
            "",
            "On 14 May the coaster <i>Linnet Trader</i> became the first ship to shut down her "
            "engines alongside and draw her power from the quay. By the end of the year it had "
            "become routine at berths 1, 2 and 10. It is quieter, and people living on "
            "Chandler's Hill have told us so.",
            {},
        ),
        ("head", "What comes next", {}),
        (
            "",
            "The Board has approved the renewal of Ropewalk Quay in three stages. Work starts with "
            "the fenders and bollards of berth 4, where a heavy contact in November brought the "
            "date forward. We will also decide, by the autumn of 2025, whether to extend the "
            "heavy-lift pad at the Wind Terminal. Two developers have asked for it; neither has "
            "yet signed.",
            {},
        ),
        (
            "",
            "Harbours reward patience. Ours was begun in 1787 by nine merchants who could not "
            "agree on its depth. I thank everyone who has worked to leave it a little deeper, and "
            "a good deal cleaner, than they found it.",
            {},
        ),
        ("part", "signature", {}),
        (
            "",
            "<b>Rosalind Achterberg</b><br/>Chair, Kelwick Harbour Authority<br/>27 March 2025",
            {},
        ),
    ),
    "trade": (
        (
            "lead",
            "Four of the six trades grew. The total passed its previous peak, set in 1998, in the "
            "second week of December.",
            {},
        ),
        (
            "",
            "Container traffic rose for the third year running. Most of the growth came from the "
            "weekly feeder service to Aldermouth, which changed in March from one ship to two. "
            "Exports of chilled fish and of machine parts filled boxes that had been going out "
            "empty: the share of empty containers fell from 31 to 26 per cent.<super rise='3' "
            "size='6'>2</super>",
            {},
        ),
        (
            "",
            "The grain harvest was late but large. The new ship loader at Granary Quay, handed "
            "over in February, loads a 6,000-tonne coaster in eleven hours instead of nineteen, "
            "and spared us the autumn queue of lorries on Maltings Road.",
            {},
        ),
        ("caption", "Table 1. Cargo handled, by commodity (thousand tonnes)", {}),
        ("part", "cargo", {}),
        ("head", "Timber and fuel", {}),
        (
            "",
            "Timber fell for the second year. The Norrmark sawmill closed one of its two lines in "
            "April, and imports of construction softwood stayed weak until the autumn. We expect "
            "volumes to settle near their present level. Liquid fuels will go on declining, as "
            "planned: the tenant of the Oil Jetty has told us that it will not renew its lease "
            "when it ends in 2031.",
            {},
        ),
        ("head", "Wind", {}),
        (
            "",
            "The Wind Terminal had its first full year. Thirty-seven ships brought tower sections, "
            "blades and nacelles for the Farrow Bank project; the heaviest single lift, a "
            "transition piece of 498 tonnes, went ashore on 6 August. The terminal still earns "
            "less per metre of quay than any other, but it is the only trade in which customers "
            "have asked us for more space.",
            {},
        ),
    ),
    "vessels": (
        (
            "",
            "More boxes crossed North Quay than ever, but they did not come evenly. Figure 1 sets "
            "each quarter beside the same quarter of the year before. The loss of Gantry 3 "
            "undid the growth of one season; trade caught up once the crane was back, and the last "
            "weeks of the year were the busiest on record.",
            {},
        ),
        ("part", "bars", {}),
        (
            "figcaption",
            "Figure 1. Containers handled at North Quay by quarter, 2023 and 2024 (thousand TEU)",
            {},
        ),
        (
            "",
            "The wait at the anchorage is what shipmasters judge us by. We measure it from the "
            "time a ship drops anchor in Kelwick Roads to the time her pilot boards. In a normal "
            "year it stays between four and five hours, most of it spent on the tide.",
            {},
        ),
        ("part", "lines", {}),
        (
            "figcaption",
            "Figure 2. Mean waiting time of ships at the anchorage by month, 2023 and 2024 (hours)",
            {},
        ),
        (
            "",
            "Two changes should keep the peaks lower. Since October the berth plan has been "
            "published every six hours, so that ships can slow down at sea rather than hurry to "
            "wait. And the third pilot cutter, <i>Sanderling</i>, allows boarding in seas of up to "
            "2.8 metres, where the older boats stop at two.",
            {},
        ),
    ),
    "berths": (
        (
            "caption",
            "Table 2. Berths on 31 December 2024: dimensions, equipment, use and planned works",
            {},
        ),
        ("part", "berths", {}),
        (
            "",
            "Depths are metres below chart datum, as last surveyed and rounded down. Occupancy is "
            "the share of hours in the year during which a ship was made fast. Calls at the Ferry "
            "Stage count the summer passenger ferry and exclude the Authority's own craft. Berth 3 "
            "was open to geared ships while Gantry 3 was out of service.",
            {},
        ),
        ("part", "plan", {}),
        ("figcaption", "Figure 3. Plan of the quays, with berth numbers (not to scale)", {}),
    ),
    "environment": (
        (
            "lead",
            "Our own emissions fell by almost a fifth, most of it from two changes: shore power, "
            "and tugs that no longer idle between jobs.",
            {},
        ),
        ("caption", "Table 3. Environmental indicators", {}),
        ("part", "indicators", {}),
        ("head", "Dredging", {}),
        (
            "",
            "Silt is the price of our position at the mouth of the Keld. In 2024 the dredger "
            "worked for 61 days, two weeks longer than planned, after the floods of January left "
            "a bar across the entrance. Just over two thirds of what was lifted went to the "
            "disposal ground at Skerry Deep. The rest, all clean sand, was pumped on to the beach "
            "at Otter Flats, which has now gained about fourteen metres in width since 2020.",
            {},
        ),
        ("head", "Eelgrass at Otter Flats", {}),
        (
            "",
            "In September 2023 volunteers and staff set out 26,000 eelgrass shoots over 2.6 "
            "hectares of the lower shore. When divers counted the plots again in April 2024, 71 "
            "per cent of the shoots were alive, against the 40 per cent assumed in the licence. "
            "The beds had already begun to trap fine sediment, and young wrasse were seen in every "
            "plot. A second planting, of the same size, is due in 2025.",
            {
                "eelgrass": "When divers counted the plots again in April 2024, 71 per cent of the "
                "shoots were alive"
            },
        ),
        ("head", "Noise and air", {}),
        (
            "",
            "We received 38 complaints about noise, down from 57. Twenty-two of them concerned "
            "night work at North Quay during the crane repair, and each was answered within three "
            "working days. The air monitor at Chandler's Hill School recorded no hour above the "
            "limit for nitrogen dioxide; the highest reading, on a still evening in December, came "
            "from road traffic.",
            {},
        ),
        ("head", "One spill", {}),
        (
            "",
            "On 3 October about 90 litres of hydraulic oil escaped from a hose on the mobile crane "
            "at berth 5. A boom was in place within twenty-five minutes, and nothing passed the "
            "pierhead. All hoses of that pattern have since been replaced.",
            {},
        ),
    ),
    "finance": (
        (
            "lead",
            "Income grew a little more slowly than trade and costs a little faster, so the surplus "
            "was lower than in 2023.",
            {},
        ),
        (
            "",
            "Dues rose with tonnage and with the tariff, which went up by 2.5 per cent in January. "
            "Energy cost less, because the fixed price agreed in 2022 ended in June and because "
            "the lighting of the container yard is now entirely LED. Two lines rose sharply. The "
            "winter floods made for a long dredging season, and the repair of Gantry 3, with the "
            "hire of a mobile crane to cover for it, came to \N{EURO SIGN}684 thousand, of which "
            "the insurers have so far met half.",
            {},
        ),
        ("caption", "Table 4. Income and expenditure for the year ended 31 December", {}),
        ("part", "accounts", {}),
        ("head", "Borrowing and reserves", {}),
        (
            "",
            "The Authority has no shareholders, and every surplus stays in the harbour. At the end "
            "of the year borrowing stood at \N{EURO SIGN}23.8 million, all of it at fixed rates, "
            "and is due to be repaid by 2036. The general reserve covers five months of running "
            "costs; the Board's policy is to hold no less than four. The pension "
            "scheme is in surplus.<super rise='3' size='6'>4</super>",
            {},
        ),
        (
            "",
            "The first stage of Ropewalk Quay will be paid for from reserves. Stages two and three "
            "will need a loan, for which three banks have made offers in principle.",
            {},
        ),
    ),
    "people": (
        (
            "",
            "Captain Ingrid Solheim retired as Harbour Master on 31 October, after twenty-two "
            "years in which the harbour doubled its trade and lost not one ship. Her deputy, Tomas "
            "Arrendale, was appointed to succeed her after an open competition. He came to "
            "Kelwick as a pilot in 2011.",
            {
                "harbour_master": "Her deputy, Tomas Arrendale, was appointed to succeed her "
                "after an open competition."
            },
        ),
        ("head", "Safety", {}),
        (
            "",
            "Four people were hurt badly enough to miss a shift, against seven in 2023. Three of "
            "the four injuries happened while mooring ropes were being handled. Since November no "
            "one may stand inside the painted arc around a bollard while a line is under load, and "
            "the arcs have been repainted in yellow at every berth. We reported 212 near misses, "
            "the most ever, and take that as a sign of trust rather than of danger.",
            {},
        ),
        ("head", "Training", {}),
        (
            "",
            "The crane simulator, shared with the college at Aldermouth, was in use on 163 days. "
            "All gantry drivers have now completed the two-day course on working in high wind. The "
            "stop-work limit remains a gust of 20 metres per second at jib height.",
            {},
        ),
        ("head", "The Board", {}),
        (
            "",
            "The Board has nine members and met eight times; attendance was 94 per cent. Davit "
            "Mulrooney continued as Chief Executive. Hanne Brisebois and Colm Attery joined in "
            "January, and Philippa Oyelaran left in December after serving two full terms. The "
            "audit committee recommended that Pell &amp; Harrow be kept as auditors for one more "
            "year, and that the work then be put out to tender.",
            {},
        ),
        ("caption", "Table 5. Members of the Board and their attendance in 2024", {}),
        ("part", "board", {}),
        ("head", "The town", {}),
        (
            "",
            "The open day on 15 June drew 6,400 visitors. The community fund made nineteen grants, "
            "of \N{EURO SIGN}82 thousand in all; the largest went to the lifeboat crew towards a "
            "new tractor.",
            {},
        ),
        (
            "",
            "<font size='7.5' color='#66737B'>Kelwick Harbour Authority, Custom House, 1 Pierhead, "
            "Kelwick. The Authority, its people and every figure in this report are invented; the "
            "report was written as a sample document.</font>",
            {},
        ),
    ),
}
