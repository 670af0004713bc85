"""Names of people, for questions that are made up: some two hundred first and last names each."""

FIRST = tuple(
    """
    Aaron Abigail Adam Adrian Agnes Alan Albert Alexandra Alfred Alice Allison Amanda Amber Amelia
    Amy Andrea Andrew Angela Anita Anna Anthony April Arthur Ashley Audrey Austin Barbara Beatrice
    Benjamin Bernard Beth Betty Bianca Bonnie Bradley Brenda Brian Bruce Caleb Calvin Carl Carmen
    Caroline Catherine Cecil Chad Charles Chloe Christian Clara Clifford Colin Conrad Craig Crystal
    Cynthia Daisy Daniel Darren David Deborah Dennis Derek Diana Dominic Donald Doris Douglas Dylan
    Edith Edward Eleanor Elizabeth Ella Emily Emma Eric Esther Ethan Eugene Eva Evelyn Felix Fiona
    Florence Frances Frank Frederick Gabriel Gail George Gerald Gloria Gordon Grace Grant Gregory
    Hannah Harold Harry Heather Helen Henry Herbert Holly Hugh Ian Ida Irene Isaac Isabel Ivan Jack
    Jacob James Jasmine Jason Jeffrey Jennifer Jeremy Jessica Joan Joel John Jonathan Joseph Joshua
    Joyce Judith Julia Justin Karen Keith Kelly Kenneth Kevin Kimberly Kyle Laura Lawrence Leonard
    Lillian Linda Logan Louis Lucas Lucy Luke Lydia Marcus Margaret Maria Mark Martha Martin Mary
    Matthew Megan Melissa Michael Monica Nancy Naomi Nathan Nicholas Nicole Noah Nora Oliver Olivia
    Oscar Pamela Patrick Paul Peter Philip Rachel Ralph Raymond Rebecca Richard Robert Rose Ruth
    Samuel Sarah Simon Sophia Stephen Susan Sylvia Teresa Thomas Tiffany Timothy Vanessa Victor
    Victoria Vincent Virginia Walter Wendy William
    """.split()
)
LAST = tuple(
    """
    Abbott Adams Allen Anderson Archer Armstrong Arnold Atkins Austen Bailey Baker Baldwin Banks
    Barker Barnes Barrett Barton Baxter Becker Bell Bennett Benson Berry Bishop Black Blake Bowen
    Boyd Bradford Brooks Brown Bryant Buchanan Burke Burns Butler Byrd Campbell Carlson Carpenter
    Carroll Carter Castillo Chambers Chapman Chavez Clark Clayton Cohen Coleman Collins Cooper Cox
    Crawford Cruz Cunningham Curtis Dalton Daniels Davidson Davis Dawson Day Delgado Diaz Dixon
    Doyle Drake Duncan Dunn Edwards Elliott Ellis Erickson Evans Farmer Ferguson Fernandez Fields
    Fisher Fleming Fletcher Flores Ford Foster Fowler Fox Franklin Freeman Fuller Garcia Gardner
    Garrett Gibson Gilbert Gomez Gonzalez Goodwin Graham Gray Green Griffin Hale Hall Hamilton
    Hansen Harper Harris Hart Harvey Hayes Henderson Hernandez Hicks Hill Hoffman Holland Holmes
    Howard Hughes Hunt Hunter Jackson Jenkins Jensen Johnson Jones Jordan Kaplan Keller Kennedy Kim
    King Klein Knight Lambert Lane Larson Lawson Lee Lewis Lopez Lynch Marsh Marshall Mason May
    Mendoza Meyer Miller Mitchell Moore Morgan Morris Murphy Myers Nelson Newton Norris Obrien Owens
    Palmer Parker Perez Perry Peterson Phillips Pierce Porter Powell Price Quinn Ramirez Reed
    Reynolds Rhodes Rivera Roberts Robinson Rogers Ross Russell Ryan Sanders Schmidt Scott Shaw
    Silva Simmons Smith Stevens Stewart Sullivan Taylor Turner Walker Watson Webb White Wilson Young
    """.split()
)
