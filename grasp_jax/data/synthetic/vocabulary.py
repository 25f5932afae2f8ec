"""The words that the synthetic shop's texts are made of."""

# Department -> product type -> words that its products are described with.
DEPARTMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    'Garden': {
        'pruning shears': ('bypass blade', 'twigs', 'roses', 'sap groove'),
        'watering can': ('spout', 'sprinkler head', 'seedlings', 'litres'),
        'seed tray': ('germination', 'propagator lid', 'plugs', 'sowing'),
        'garden gloves': ('thorn proof', 'palm grip', 'cuffs', 'weeding'),
        'compost bin': ('peelings', 'aeration', 'humus', 'hatch'),
        'bird feeder': ('sunflower hearts', 'perch', 'finches', 'squirrel guard'),
    },
    'Kitchen': {
        'chef knife': ('carbon edge', 'chopping', 'tang', 'onions'),
        'cutting board': ('end grain', 'juice rim', 'butcher block', 'oiled'),
        'stock pot': ('simmer', 'broth', 'lid vent', 'induction'),
        'coffee grinder': ('burr', 'espresso', 'beans', 'coarse setting'),
        'baking tin': ('sponge cake', 'release coating', 'crumb', 'oven'),
        'spice rack': ('cumin', 'jars', 'labels', 'pantry'),
    },
    'Music': {
        'guitar strings': ('phosphor', 'gauge', 'fretboard', 'twang'),
        'violin bow': ('horsehair', 'rosin', 'frog', 'legato'),
        'drum sticks': ('hickory', 'snare', 'rebound', 'tip'),
        'piano lamp': ('score light', 'gooseneck', 'keys', 'sheet'),
        'harmonica': ('reeds', 'blues', 'comb', 'bend'),
        'metronome': ('tempo', 'beats', 'pendulum', 'click'),
    },
    'Cycling': {
        'bike pump': ('valve', 'pressure', 'inflate', 'barrel'),
        'chain oil': ('drivetrain', 'lubricant', 'sprocket', 'drip'),
        'saddle bag': ('seat post', 'puncture kit', 'straps', 'commute'),
        'bike light': ('lumens', 'handlebar', 'night ride', 'flashing'),
        'cycling jersey': ('wicking', 'rear pockets', 'zip', 'breathable'),
        'helmet': ('vents', 'chin buckle', 'impact foam', 'visor'),
    },
    'Pets': {
        'cat tree': ('sisal', 'scratching', 'platform', 'kitten'),
        'dog leash': ('walks', 'clip', 'reflective braid', 'puppy'),
        'aquarium filter': ('sponge cartridge', 'flow rate', 'tank', 'goldfish'),
        'hamster wheel': ('silent bearing', 'rodent', 'running track', 'cage'),
        'pet brush': ('shedding', 'undercoat', 'bristles', 'fur'),
        'chew toy': ('rubber bone', 'teething', 'squeak', 'fetch'),
    },
    'Stationery': {
        'fountain pen': ('nib', 'ink flow', 'converter', 'calligraphy'),
        'notebook': ('dotted pages', 'binding', 'ribbon', 'journal'),
        'watercolour set': ('pigments', 'pans', 'wash', 'brush pot'),
        'washi tape': ('scrapbook', 'pattern rolls', 'tear', 'decorate'),
        'desk organiser': ('drawers', 'paper clips', 'compartments', 'tidy'),
        'letter seal': ('wax', 'stamp', 'monogram', 'envelope'),
    },
}

BRANDS: dict[str, tuple[str, ...]] = {
    'Garden': ('Mossfield', 'Hedgerow & Sons', 'Loamy', 'Fernbank'),
    'Kitchen': ('Copperlane', 'Saffron Works', 'Nordkok', 'Old Larder'),
    'Music': ('Cadenza', 'Bluewood', 'Tremolo Bros', 'Ostinato'),
    'Cycling': ('Velora', 'Spokewise', 'Alpine Gear', 'Tailwind'),
    'Pets': ('Pawprint', 'Whisker Lane', 'Barkley', 'Finfolk'),
    'Stationery': ('Inkwell', 'Papyr', 'Quillmark', 'Margin Notes'),
}

# Each product has one style; people like one style more than the others, across departments.
STYLES: dict[str, tuple[str, ...]] = {
    'vintage': ('retro', 'brass', 'heirloom'),
    'minimal': ('plain', 'slim', 'matte white'),
    'rugged': ('heavy duty', 'reinforced', 'weatherproof'),
    'playful': ('colourful', 'cheerful', 'polka dot'),
    'luxury': ('handmade', 'premium', 'gift box'),
}

OCCUPATIONS: dict[str, tuple[str, ...]] = {
    'Garden': ('gardener', 'florist', 'farmer'),
    'Kitchen': ('cook', 'baker', 'dietitian'),
    'Music': ('music teacher', 'sound engineer', 'choir leader'),
    'Cycling': ('courier', 'physiotherapist', 'sports coach'),
    'Pets': ('vet nurse', 'dog walker', 'biologist'),
    'Stationery': ('illustrator', 'librarian', 'notary'),
}

CITIES = ('Lisbon', 'Graz', 'Bergen', 'Porto', 'Utrecht', 'Turku', 'Leeds', 'Malmo', 'Ghent', 'Gdansk')
GENDERS = ('female', 'male', 'unknown')
