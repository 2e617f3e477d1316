"""The words and figures of the paper. Its authors, data and references are invented."""

from __future__ import annotations

JOURNAL = "Transactions of the Imaginary Society for Coastal Measurement, 7 (2024)"
FIRST_PAGE = 41
SURVEY_DAYS = (8, 36, 64, 90, 97, 126, 154, 182, 203, 231, 259, 287)
DREDGED = (92, 198)

# Wind class in m/s, berthings, mean absolute error in metres.
WIND = (
    ("0\N{EN DASH}2", 38, 0.27),
    ("2\N{EN DASH}5", 71, 0.28),
    ("5\N{EN DASH}8", 66, 0.30),
    ("8\N{EN DASH}11", 39, 0.41),
    ("11\N{EN DASH}14", 22, 0.78),
    ("over 14", 9, 1.16),
)

TITLE = "Reading the Bed from the Tow Line: Tug Power as a Measure of Silt in a Berth Pocket"
AUTHORS = (
    "Mirela Quillfeather<super rise='3.4' size='6.6'>1</super>, Jonas Adebarr<super rise='3.4' "
    "size='6.6'>2</super> and Sunniva Tellworth<super rise='3.4' size='6.6'>1</super>"
)
OFFICES = (
    "<super rise='2.8' size='5.6'>1</super> Institute for Tidal Engineering, University of "
    "Eastmarch<br/><super rise='2.8' size='5.6'>2</super> Survey Office, Kelwick Harbour Authority"
)
ABSTRACT = (
    "<b>Abstract.</b> A berth pocket fills with silt between surveys, and the harbour learns of it "
    "only when the echo sounder returns. Tugs, however, feel the bed at every berthing: the less "
    "water there is under a ship, the harder she is to push sideways. We use the shaft power that "
    "tugs already record to estimate the height of silt in the pocket, and test the estimate "
    "against twelve multibeam surveys over 300 days. The method needs no new instruments, follows "
    "two dredging campaigns without being told of them, and cuts the error of carrying the last "
    "survey forward by more than half. It fails in strong wind and for very light ships."
)

# Method, mean absolute error, bias, share of estimates within 0.2 m.
ERRORS = (
    ("Last survey carried forward", "0.27", "\N{EN DASH}0.21", "41%"),
    ("Line between surveys", "0.19", "+0.04", "63%"),
    ("Tug power, no tide term", "0.16", "+0.06", "72%"),
    ("Tug power, full model", "0.11", "\N{EN DASH}0.02", "88%"),
)

BODY: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("head", "1. Introduction", {}),
    (
        "first",
        "Harbours on muddy estuaries dredge a pocket in front of each quay so that ships can lie "
        "afloat at low water. The pocket is a trap. Slack water drops its load there, and a metre "
        "of silt in a season is not unusual [1]. Between surveys the harbour master must guess how "
        "much of the declared depth is left, and a careful guess costs trade: every decimetre of "
        "doubt is cargo that stays ashore.",
        {},
    ),
    (
        "",
        "The obvious remedy, to survey more often, is dear. A multibeam launch with two crew is at "
        "work elsewhere for most of the month, and the berth must be empty when it calls. Fixed "
        "sounders have been tried; at Kelwick two were lost to propeller wash within a year [2].",
        {},
    ),
    (
        "",
        "This paper starts from a remark that tug masters make without prompting: a ship goes on "
        "to the berth <i>heavy</i> when the bottom is close. The reason is well known. Water "
        "pushed aside by the hull has to escape beneath the keel, and as the gap closes the added "
        "mass and the drag both climb steeply [3]. What seems not to have been asked is whether "
        "the effect, buried in everyday tug records, can be turned round and read as a depth.",
        {},
    ),
    ("head", "2. Related work", {}),
    (
        "first",
        "Ships have been used as instruments before. Wrackham [1] read the squat of ferries from "
        "their wash marks on a pier, and so followed a bar that no one had sounded since the war. "
        "Pilots' notes on sluggish steering were collected for a whole winter at Aldermouth, but "
        "proved to say more about the pilots than about the river [4].",
        {},
    ),
    (
        "",
        "Work on the forces themselves is older and firmer. Vantongeren and Silk [3] pushed eleven "
        "blunt hulls sideways along a tank, at clearances from a tenth to three times the draught, "
        "and found a single curve for all of them once the effort was scaled by the speed of the "
        "hull. Their curve is the heart of our method. To our knowledge it has been used to choose "
        "tugs for a given clearance, but never the other way about.",
        {},
    ),
    ("head", "3. Setting and data", {}),
    (
        "first",
        "The trial ran at berths 1 and 2 of North Quay, which share one pocket, from 4 March to "
        "28 December 2023, 300 days in all. The pocket is 490 m long and 38 m wide, with a "
        "dredged level of 12.5 m below chart datum. Spring tides range over 4.9 m, and the silt "
        "is fine: its median grain measured 14 micrometres.",
        {},
    ),
    (
        "",
        "Two tugs of 2,400 kW handle nearly all ships. Each logs shaft power, heading and position "
        "once a second. We cut out the last sixty metres of each approach, where the ship moves "
        "sideways at less than 0.3 m/s and the tugs push square to her side.",
        {},
    ),
    ("pocket", "", {}),
    (
        "caption",
        "<b>Figure 1.</b> Section through the pocket during a berthing. The clearance <i>c</i> "
        "between keel and silt shrinks as the pocket fills; <i>h</i> is the depth of water outside "
        "it. Not to scale.",
        {},
    ),
    (
        "",
        "Of 263 berthings, 214 were kept. Thirty-one were dropped because the mean wind was above "
        "11 m/s, at which the push of the wind on the hull drowns that of the water. Eighteen more "
        "were ships in ballast, whose clearance was never less than half their draught.",
        {
            "wind_dropped": "Thirty-one were dropped because the mean wind was above 11 m/s, "
            "at which the push of the wind on the hull drowns that of the water."
        },
    ),
    (
        "",
        "Twelve multibeam surveys served as the truth. None was shown to the model after the "
        "first, which set its starting level. The dredger worked the pocket twice during the "
        "trial, on dates that the model was not given either.",
        {},
    ),
    ("head", "4. Method", {}),
    (
        "first",
        "Let <i>P</i> be the mean power of both tugs over the approach, <i>u</i> the sideways "
        "speed of the ship, and <i>A</i> the area of her side below water. We form the "
        "dimensionless effort",
        {},
    ),
    (
        "equation",
        "<i>E</i> = <i>P</i> / (<i>k A u</i><super rise='3.4' size='6.6'>3</super>),"
        "&nbsp;&nbsp;&nbsp;&nbsp;&nbsp;&nbsp;(1)",
        {},
    ),
    (
        "first",
        "where <i>k</i> is fixed once for each pair of tugs. In deep water <i>E</i> settles near "
        "one. Near the bed it follows a power of the clearance <i>c</i> over the draught <i>d</i>:",
        {},
    ),
    (
        "equation",
        "<i>E</i> = 1 + <i>a</i> (<i>c</i> / <i>d</i>)<super rise='3.4' size='6.6'>\N{EN DASH}1.4"
        "</super>.&nbsp;&nbsp;&nbsp;&nbsp;&nbsp;&nbsp;(2)",
        {},
    ),
    (
        "first",
        "The exponent was taken from towing-tank work on blunt hulls [3] and not fitted. The "
        "constant <i>a</i> was fitted on the first twenty berthings, before any silt to speak of "
        "had gathered, and came to 0.083. Turning (2) round gives the clearance, and with the tide "
        "<i>t</i> at the moment of berthing the height of silt is",
        {},
    ),
    (
        "equation",
        "<i>s</i> = <i>D</i> + <i>t</i> \N{EN DASH} <i>d</i> \N{EN DASH} <i>c</i>,"
        "&nbsp;&nbsp;&nbsp;&nbsp;&nbsp;&nbsp;(3)",
        {},
    ),
    (
        "first",
        "with <i>D</i> the dredged depth. A single berthing is a poor witness: wind, rudder and a "
        "tug master's patience all leave their mark, and one estimate of <i>s</i> scatters by "
        "about 0.3 m. We therefore smooth the series with a local median over nine berthings, "
        "roughly twelve days. A median was preferred to a mean because mistakes in the log, such "
        "as a wrong draught, are rare but large.",
        {},
    ),
    (
        "",
        "A dredging shows up as a sudden fall. When five berthings in a row lie more than 0.25 m "
        "below the running median, the window is cut and the series starts afresh. The rule was "
        "set before the trial and not changed.",
        {},
    ),
    (
        "",
        "To say how far an estimate may be trusted we draw two hundred samples, with replacement, "
        "from the berthings inside the window, and take the median of each. The spread of these "
        "medians gives the band of Figure 2. It widens when ships are few. The longest gap, five "
        "days without a berthing in August, came when the feeder ship was in dry dock.",
        {},
    ),
    ("head", "5. Results", {}),
    (
        "first",
        "Figure 2 shows the estimate beside the surveys. It rises quickly after each dredging and "
        "then more slowly, as the pocket comes into balance with the estuary. Both dredgings were "
        "noticed, the first after six berthings and the second after eight.",
        {},
    ),
    ("plot", "", {}),
    (
        "caption",
        "<b>Figure 2.</b> Height of silt in the pocket during the trial. The shaded band "
        "is twice the scatter of the running median; broken lines mark the two dredgings.",
        {},
    ),
    (
        "",
        "Table 1 compares the method with three others. Carrying the last survey forward is what "
        "most harbours do, and it errs on the dangerous side: the pocket is always shallower than "
        "the chart. A straight line between surveys does better but can be drawn only afterwards, "
        "once the second survey is in. Tug power does without it.",
        {},
    ),
    (
        "table-caption",
        "<b>Table 1.</b> Error of the silt height against eleven surveys: mean absolute error "
        "(MAE), bias, and share of daily values within 0.2 m.",
        {},
    ),
    ("table", "", {}),
    (
        "",
        "The tide term matters more than its size suggests. Ships are berthed on the flood when "
        "they can be, so that to leave the tide out is to be wrong in one direction. Much of what "
        "error remains comes from declared draughts, which at Kelwick are rounded to the nearest "
        "decimetre.",
        {},
    ),
    (
        "",
        "Wind is the chief enemy. Figure 3 sorts the error of single berthings by the mean wind "
        "during the approach, and here the berthings dropped from the main series are put back. Up "
        "to about 8 m/s the wind hardly matters. Beyond that the error climbs, and in the last "
        "class it is larger than the silt itself.",
        {},
    ),
    ("wind", "", {}),
    (
        "caption",
        "<b>Figure 3.</b> Mean absolute error of single berthings, by mean wind speed during the "
        "approach. The number of berthings in each class stands above its bar.",
        {},
    ),
    (
        "",
        "We also tried to correct for the wind with a drag term based on the height of the ship "
        "above water. It helped in a steady breeze and harmed in gusts, and was given up: the "
        "anemometer stands on the roof of the Custom House, 900&nbsp;m from the quay.",
        {},
    ),
    ("head", "6. Discussion", {}),
    (
        "first",
        "The method is cheap because it asks for nothing new. That is also its weakness. It sees "
        "only the strip of bed that ships pass over, and says nothing about the corners of the "
        "pocket, where silt stands highest and where the dredger is most often called back.",
        {},
    ),
    (
        "",
        "A layer of liquid mud raises a further question. The sounder, at 200 kHz, returns from "
        "its top; a hull may push through it. On four days in October the estimate lay 0.15 m "
        "below the survey, and samples taken that week held mud of less than 1,150 kg per cubic "
        "metre. It may be that the tugs were right, in the sense that matters to a ship.",
        {},
    ),
    (
        "",
        "The trial covers one pocket and one pair of tugs. We expect <i>k</i> to need setting "
        "again for tugs of another kind, above all for those with propellers under the bow. The "
        "exponent should carry over to any full-bodied ship; for fine-lined vessels, such as car "
        "carriers, we would not trust it.",
        {},
    ),
    (
        "",
        "What would a harbour need in order to begin? Tugs that log shaft power at least once in "
        "five seconds; draughts declared to the nearest decimetre or better; a tide gauge within "
        "the same basin; and about forty berthings between one survey and the next. The last is "
        "the hardest to meet. At the quieter berths of Kelwick, with fewer than seventy ships in a "
        "year, the window would have to span a whole season, and a dredging could come and go "
        "without being seen.",
        {},
    ),
    (
        "",
        "There is, last, a matter of habit. Tug masters who know that their push is being read may "
        "push otherwise. During the trial they did not know; since then they have, and have asked "
        "for the estimate to be shown on the bridge. We have found no change in the scatter so "
        "far, but it should be looked for again in a year.",
        {},
    ),
    ("break", "", {}),
    ("head", "7. Conclusion", {}),
    (
        "first",
        "Tug logs hold a usable record of the bed. In one pocket, over 300 days, they gave the "
        "height of silt to about the width of a hand, and told of two dredgings within a "
        "fortnight. We do not propose to give up surveys, but to choose their dates better: the "
        "launch can be sent when the tugs begin to labour. Kelwick has used the estimate in this "
        "way since February 2024, and has surveyed the pocket five times in place of nine.",
        {},
    ),
    (
        "small",
        "<b>Acknowledgements.</b> We thank the masters of the tugs <i>Bracken</i> and "
        "<i>Teasel</i>, who began it. The logs were used by leave of the Kelwick Harbour "
        "Authority.",
        {},
    ),
    ("head", "References", {}),
    (
        "reference",
        "[1] P. Wrackham, <i>Mud in Quiet Water</i>. Lantern Quay Press, Eastmarch, 2011.",
        {},
    ),
    (
        "reference",
        "[2] J. Adebarr, \N{LEFT DOUBLE QUOTATION MARK}Two sounders lost: notes from a busy "
        "berth,\N{RIGHT DOUBLE QUOTATION MARK} <i>Imaginary Harbour Notes</i>, 3, pp. "
        "8\N{EN DASH}11, 2022.",
        {},
    ),
    (
        "reference",
        "[3] E. Vantongeren and O. Silk, \N{LEFT DOUBLE QUOTATION MARK}Blunt hulls moving "
        "sideways in shoal water,\N{RIGHT DOUBLE QUOTATION MARK} <i>Journal of Unbuilt Ships</i>, "
        "19, pp. 201\N{EN DASH}226, 2016.",
        {},
    ),
    (
        "reference",
        "[4] M. Quillfeather, <i>The Patient Median</i>. Lecture notes, University of "
        "Eastmarch, 2020.",
        {},
    ),
    (
        "small",
        "<i>This paper is a sample document. Its authors, institutions, data and references are "
        "invented.</i>",
        {},
    ),
)
