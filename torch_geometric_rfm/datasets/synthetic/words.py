r"""Word lists of which names of tables, columns and categories are composed."""

THEMES: dict[str, tuple[list[str], list[str]]] = {
    'shop': (
        'customers products stores suppliers brands warehouses regions '
        'employees'.split(),
        'orders payments returns reviews shipments visits carts invoices'.split(),
    ),
    'hospital': (
        'patients doctors wards clinics drugs diseases insurers devices'.split(),
        'admissions prescriptions measurements operations treatments tests '
        'transfers diagnoses'.split(),
    ),
    'sport': (
        'players teams stadiums coaches leagues sponsors countries referees'.split(),
        'matches results goals transfers injuries trainings rankings penalties'.split(),
    ),
    'school': (
        'students teachers courses schools departments classrooms subjects '
        'libraries'.split(),
        'exams enrollments lessons grades absences assignments loans '
        'applications'.split(),
    ),
    'bank': (
        'clients accounts branches cards merchants currencies advisors funds'.split(),
        'transactions transfers withdrawals deposits trades claims alerts '
        'logins'.split(),
    ),
    'travel': (
        'travellers airports airlines planes hotels rooms cities agencies'.split(),
        'flights bookings stays delays complaints inspections repairs '
        'cancellations'.split(),
    ),
    'network': (
        'users groups pages topics communities tags badges channels'.split(),
        'posts comments likes votes messages follows reports sessions'.split(),
    ),
    'factory': (
        'machines plants parts materials operators vendors lines tools'.split(),
        'batches failures inspections deliveries shifts repairs readings '
        'orders'.split(),
    ),
    'media': (
        'viewers movies actors studios genres songs artists playlists'.split(),
        'ratings views plays downloads purchases reviews subscriptions '
        'searches'.split(),
    ),
    'city': (
        'residents districts streets buildings stations buses parks vehicles'.split(),
        'trips accidents permits inspections complaints rentals elections '
        'readings'.split(),
    ),
    'farm': (
        'farms fields crops animals breeds tractors markets seeds'.split(),
        'harvests sowings sales vaccinations measurements feedings rains '
        'repairs'.split(),
    ),
    'research': (
        'researchers institutes journals laboratories instruments projects '
        'substances grants'.split(),
        'publications experiments citations samples reviews proposals '
        'observations meetings'.split(),
    ),
}
r"""For each theme the names of tables of things and of happenings."""

AMOUNTS = (
    'amount price cost revenue weight duration distance volume income size value '
    'salary budget area energy'
).split()
SCORES = (
    'score level index balance rate quality risk difference temperature pressure '
    'growth strength deviation'
).split()
COUNTS = 'items units points attempts pages errors people steps hits'.split()
GRADES = 'rating rank grade priority stage position class degree'.split()
ADJECTIVES = (
    'active new large verified urgent domestic premium complete late public regular '
    'experienced approved automatic damaged shared seasonal local'
).split()
MODIFIERS = 'total net gross base average final initial actual expected main'.split()
DATES = 'due end start review delivery expiry renewal confirmation'.split()
TEXTS = 'name title label description note'.split()

ORDERED_CATEGORIES = {
    'risk level': 'very low,low,medium,high,very high',
    'size': 'tiny,small,medium,large,huge',
    'condition': 'poor,fair,good,very good,excellent',
    'frequency': 'never,rarely,sometimes,often,always',
    'age group': 'child,teenager,adult,senior',
    'membership': 'bronze,silver,gold,platinum,diamond',
    'temperature band': 'cold,cool,mild,warm,hot',
    'severity': 'minor,moderate,serious,severe,critical',
}
NOMINAL_CATEGORIES = {
    'status': 'open,closed,pending,cancelled,shipped,paid,rejected,archived,draft',
    'color': 'red,blue,green,black,white,yellow,orange,purple,brown,grey',
    'region': 'north,south,east,west,centre,coast,mountains,islands',
    'country': 'France,Japan,Brazil,Kenya,Canada,India,Spain,Norway,Mexico,Egypt,Chile',
    'method': 'cash,card,transfer,voucher,cheque,mobile,invoice',
    'material': 'wood,steel,glass,cotton,paper,plastic,copper,stone,leather',
    'kind': 'standard,special,trial,internal,external,mixed,custom,temporary',
    'weather': 'sunny,cloudy,rain,snow,storm,fog,wind',
    'weekday': 'Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday',
    'source': 'web,phone,shop,partner,newsletter,fair,agent,friend',
    'language': 'English,German,French,Spanish,Chinese,Arabic,Hindi,Portuguese',
    'category': 'food,clothes,books,games,music,garden,sports,tools,toys,travel',
}
TEXT_WORDS = (
    'amber,river,silent,northern,golden,old,bright,stone,winter,royal,green,deep,lucky,'
    'iron,wild,crystal',
    'valley,harbour,garden,tower,bridge,forest,market,lake,station,castle,meadow,'
    'island,mill,square,hill,bay',
)


def singular(noun: str) -> str:
    r"""The singular of a name of a table.

    Example:
        >>> [singular(noun) for noun in ('cities', 'matches', 'orders', 'buses')]
        ['city', 'match', 'order', 'bus']
    """
    if noun == 'movies':
        return 'movie'
    if noun == 'diagnoses':
        return 'diagnosis'
    if noun.endswith('ies'):
        return noun[:-3] + 'y'
    if noun.endswith(('sses', 'ches', 'shes', 'xes', 'buses')):
        return noun[:-2]
    return noun.removesuffix('s')
