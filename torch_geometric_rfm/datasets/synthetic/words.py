r"""Word lists of which names of tables, columns and categories are composed."""


def _words(text: str) -> list[str]:
    return text.split()


THEMES: dict[str, tuple[list[str], list[str]]] = {
    'shop': (
        _words(
            'customers products stores suppliers brands warehouses regions employees'
        ),
        _words('orders payments returns reviews shipments visits carts invoices'),
    ),
    'hospital': (
        _words('patients doctors wards clinics drugs diseases insurers devices'),
        _words(
            'admissions prescriptions measurements operations treatments '
            'tests transfers diagnoses'
        ),
    ),
    'sport': (
        _words('players teams stadiums coaches leagues sponsors countries referees'),
        _words('matches results goals transfers injuries trainings rankings penalties'),
    ),
    'school': (
        _words(
            'students teachers courses schools departments classrooms '
            'subjects libraries'
        ),
        _words(
            'exams enrollments lessons grades absences assignments loans applications'
        ),
    ),
    'bank': (
        _words('clients accounts branches cards merchants currencies advisors funds'),
        _words(
            'transactions transfers withdrawals deposits trades claims alerts logins'
        ),
    ),
    'travel': (
        _words('travellers airports airlines planes hotels rooms cities agencies'),
        _words(
            'flights bookings stays delays complaints inspections repairs cancellations'
        ),
    ),
    'network': (
        _words('users groups pages topics communities tags badges channels'),
        _words('posts comments likes votes messages follows reports sessions'),
    ),
    'factory': (
        _words('machines plants parts materials operators vendors lines tools'),
        _words(
            'batches failures inspections deliveries shifts repairs readings orders'
        ),
    ),
    'media': (
        _words('viewers movies actors studios genres songs artists playlists'),
        _words(
            'ratings views plays downloads purchases reviews subscriptions searches'
        ),
    ),
    'city': (
        _words('residents districts streets buildings stations buses parks vehicles'),
        _words(
            'trips accidents permits inspections complaints rentals elections readings'
        ),
    ),
    'farm': (
        _words('farms fields crops animals breeds tractors markets seeds'),
        _words(
            'harvests sowings sales vaccinations measurements feedings rains repairs'
        ),
    ),
    'research': (
        _words(
            'researchers institutes journals laboratories instruments '
            'projects substances grants'
        ),
        _words(
            'publications experiments citations samples reviews proposals '
            'observations meetings'
        ),
    ),
}
r"""For each theme the names of tables of things and of happenings."""

AMOUNTS = _words(
    'amount price cost revenue weight duration distance volume income '
    'size value salary budget area energy'
)
SCORES = _words(
    'score level index balance rate quality risk difference '
    'temperature pressure growth strength deviation'
)
COUNTS = _words('items units points attempts pages errors people steps hits')
GRADES = _words('rating rank grade priority stage position class degree')
ADJECTIVES = _words(
    'active new large verified urgent domestic premium complete late '
    'public regular experienced approved automatic damaged shared '
    'seasonal local'
)
MODIFIERS = _words('total net gross base average final initial actual expected main')
DATES = _words('due end start review delivery expiry renewal confirmation')
TEXTS = _words('name title label description note')

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
    _words(
        'amber river silent northern golden old bright stone winter royal green '
        'deep lucky iron wild crystal'
    ),
    _words(
        'valley harbour garden tower bridge forest market lake station castle '
        'meadow island mill square hill bay'
    ),
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
