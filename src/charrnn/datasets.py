"""Texts to start with: first names, the documentation of Python, Tiny Shakespeare.

``charrnn.datasets`` is imported when it is first used.
"""

import hashlib

from .data.text import read_bytes
from .util.atomic_write import StrPath

_SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
)
_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def names() -> list[str]:
    """Return 1,356 first names from Europe and the Americas, in lower case, sorted.

    They are part of the package.

    Examples
    --------
    >>> import charrnn
    >>> names = charrnn.datasets.names()
    >>> len(names), names[:4]
    (1356, ['aaron', 'abel', 'abigail', 'abraham'])
    """
    return _NAMES.split()


def python_docs() -> str:
    """Return the topics of Python's own ``help()``: half a million characters of English and code.

    Every Python has them; they differ from one version to the next.

    Examples
    --------
    >>> import charrnn
    >>> "assert" in charrnn.datasets.python_docs()
    True
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def tiny_shakespeare(path: StrPath | None = None) -> str:
    """Return Tiny Shakespeare: 1,115,394 characters, the usual text to compare models on.

    Parameters
    ----------
    path : path, optional
        The file, if you have it. Otherwise it is downloaded once, into the cache folder of your
        account; that needs pooch (``pip install "charrnn-cython[datasets]"``).

    Raises
    ------
    ValueError
        If the file is another one: its SHA-256 is checked in both cases.
    OSError
        If it cannot be downloaded or read.
    ModuleNotFoundError
        If pooch is needed and not installed.
    """
    path = _download() if path is None else path
    data = read_bytes(path)
    found = hashlib.sha256(data).hexdigest()
    if found != _SHA256:
        expected = f"{_SHA256}; train_file reads any text"
        raise ValueError(f"{path} is not Tiny Shakespeare: its SHA-256 is {found}, not {expected}")
    return data.decode()


def _download() -> str:
    """Return where Tiny Shakespeare is, after a download if need be."""
    try:
        import pooch
    except ModuleNotFoundError as error:
        install = 'pip install "charrnn-cython[datasets]"'
        words = f"tiny_shakespeare needs pooch to download: {install}; or give the path of the file"
        raise ModuleNotFoundError(words, name=error.name) from error
    try:
        name = "tinyshakespeare.txt"
        return str(
            pooch.retrieve(
                _SHAKESPEARE,
                known_hash=f"sha256:{_SHA256}",
                fname=name,
                path=pooch.os_cache("charrnn"),
            )
        )
    except OSError as error:
        instead = "tiny_shakespeare(path) reads the file where you have it"
        raise OSError(f"{_SHAKESPEARE} cannot be downloaded: {error}; {instead}") from error


_NAMES = """
aaron abel abigail abraham ada adam adela adelaide adele adeline adrian adriana agatha agnes aidan
aileen aimee alan alana albert alberta alberto albin alden aldo alec alejandra alejandro alessandra
alessandro alexander alexandra alexis alfonso alfred alfredo alice alicia alina alison allan alma
aloysius alphonse alva alvin amanda amandine amara amaya amber ambrose amelia amelie amos amy ana
anabel anastasia anatole anders andrea andreas andrew andy angela angelica angelina angelo angus
anika anita ann anna annabel annabella anne anneliese annette annika anouk anselm anthea anthony
antoine antoinette anton antonia antonio april arabella archer archibald ariadne ariana arlene
armand armando arno arnold arthur arturo asa ashley astrid athena aubrey audrey august augusta
augustine augustus aurelia aurora ava axel aydin barbara barnabas barney barry bartholomew basil
bastian beatrice beatrix beckett belinda bella benedict benedicta benedikt benita benjamin bennett
bernadette bernard bernardo bernice bert bertha bertram beryl bess beth bethany betty beverly bianca
birgit bjorn blaise blake blanca blanche bonnie boris brandon brenda brendan brett brian bridget
brigitte britta bronwen bruce bruno bryce bryony byron caitlin caleb callum calvin cameron camilla
camille candice cara carina carl carla carlo carlos carlotta carmel carmela carmen carol carola
carolina caroline carolyn carson carsten casey casimir caspar cassandra catalina catherine cecil
cecilia cedric celeste celestine celia celine chad chandler chantal charity charlene charles
charlotte chelsea cheryl chester chiara chloe christa christian christina christine christoph
christopher cindy claire clara clarence clarissa clark claude claudette claudia claudine claudio
clayton clement clementine cleo clifford clint clive clotilde clyde cole colette colin colleen
connor conrad constance constantin cora coraline cordelia corinna corinne cornelia cornelius cosima
cosmo courtney craig cressida crispin crystal curtis cynthia cyril cyrus dagmar dahlia daisy dalia
damian damon dana daniel daniela danielle dante daphne daria darius darlene darren daryl dave david
davina dawn dean deborah deirdre delia delilah delphine demetrius denis denise dennis derek desmond
diana diane diego dieter dietrich dimitri dina dirk dolores dominic dominik dominique donald
donatella donna dora doreen dorian doris dorothea dorothy douglas drew duncan dustin dwight dylan
earl ebba eda eddie edgar edith edmond edmund eduardo edward edwin edwina effie egon eileen elaine
elba eleanor elena eleonora eli elia elias elijah elina elinor eliot elisa elisabeth elise elizabeth
ella ellen elliott elmer eloise elsa elsie elspeth elton elvira elvis emanuel emerson emil emile
emilia emiliano emilio emily emma emmanuel emmeline emmet enid enrico enrique enzo erasmus eric
erica erik erin erna ernest ernestine ernesto ernst erwin esme esmeralda esteban estelle esther
ethan ethel etienne eugene eugenia eunice eva evan evander evangeline eve evelyn everett ezra fabian
fabienne fabio faith fatima faye federica federico felicia felicity felipe felix ferdinand fergus
fernanda fernando fidel fiona flavia fleur flora florence florian floyd forrest frances francesca
francesco francine francis francisco franco frank franklin franz freda freddie frederica frederick
freya frida friedrich fritz gabriel gabriela gabrielle gail gareth garrett gary gaspard gaston gavin
gemma genevieve geoffrey george georgia georgina gerald geraldine gerard gerda gerhard germaine
gertrude giacomo gianna gideon gilbert gilda giles gillian gina giorgio giovanni gisela giselle
giulia giuseppe gladys glenda glenn gloria godfrey gordon grace graham grant greg gregor gregory
greta griffin griselda guido guillaume gunther gustav gustavo guy gwen gwendolyn hadrian hailey hal
hamish hank hanna hannah hannes hans harold harper harriet harris harrison harry harvey hattie hazel
heather hector hedda hedwig heidi heinrich helen helena helene helga henri henrietta henrik henry
herbert herman hermine hester hilary hilda hildegard hiram holly homer honor hope horace horatio
horst hortense howard hubert hugh hugo humphrey hunter ian ibrahim ida ignacio ignatius igor ike
ilaria ilse imelda imogen ina india ines inga inge ingrid ira irena irene iris irma irving isaac
isabel isabella isadora isaiah isidore isla ismael isolde ivan iver ivo ivor ivy jack jackson jacob
jacqueline jacques jade jake jakob james jamie jan jana jane janet janice janine jared jarvis
jasmine jason jasper javier jay jean jeanette jeanne jed jeffrey jennifer jenny jens jeremiah jeremy
jerome jerry jesse jessica jill jim jo joachim joan joanna joanne joaquin jocelyn jodie joe joel
johan johann johanna johannes john jolene jon jonah jonas jonathan jordan jorge josefa joseph
josephine joshua josiah joy joyce juan juana juanita judith judy jules julia julian juliana julie
julien juliet julietta julius june justin justine justus kai kara karen karim karin karina karl
karla kaspar katarina kate katharina katherine kathleen kathryn katja katrin kay keira keith kelly
kelvin kendall kenneth kent kerstin kevin kiera kieran kilian kim kirsten kirsty klara klaus konrad
konstantin kristen kristina kurt kyle lachlan laetitia laila lambert lana lance lara larissa lars
laszlo laura laurel lauren laurence laurent lavinia lawrence lea leah leander lee leif leila lena
lennart lennox leo leon leona leonard leonardo leonie leonora leopold leroy leslie lester leticia
letizia levi lewis liam libby lidia liesel lila lilian liliana lillian lily lina lincoln linda
lindsay linnea lionel lisa liselotte livia liza lloyd logan lois lola lorena lorenz lorenzo loretta
lori lorna lorraine lothar lottie lou louis louisa louise luca lucas lucia lucian luciana lucien
lucille lucinda lucius lucrezia lucy ludovic ludwig luigi luis luisa lukas luke lulu luna luther
lydia lyle lynn mabel mack maddalena madeleine madeline madison mae magda magdalena magnus maia
maike malachi malcolm malin malvina mandy manfred manuel manuela mara marc marcel marcella marcello
marco marcus margaret margarita margery margit margot marguerite maria mariana marianne marie
marietta marilyn marina mario marion marisa marissa marius marjorie mark markus marla marlene marlon
marta martha martin martina marvin mary mason mateo mathias mathilda matilda matteo matthew matthias
maud maura maureen maurice max maxim maxime maximilian maxine maya megan mel melanie melinda melissa
melody melvin mercedes meredith merle merlin mia micah michael michaela michel michelle miguel mila
mildred milena miles millicent milo milton mina minerva minna mira miranda mireille miriam mitchell
moira molly mona monica monika monique morgan moritz morris mortimer moses muriel myra myron myrtle
nadia nadine nancy naomi narcissus natalia natalie natasha nathan nathaniel neil nell nellie nelson
nestor neville nicholas nick nicola nicolas nicole niels nigel nikita nikolai nils nina noah noel
noelle nora norbert noreen norma norman octavia octavio odessa odette olaf ole olga olive oliver
olivia olympia omar opal ophelia orlando orson osbert oscar oswald otis ottilie otto owen pablo
paloma pamela pandora paolo pascal patience patricia patrick paul paula paulette paulina pauline
paulo pearl pedro peggy penelope percival percy perry pete peter petra petronella petunia philip
philippa phillip philomena phoebe phyllis pia pierre piers pilar piotr polly poppy preston primrose
priscilla prudence quentin quincy quinn rachel rafael raimund rainer ralph ramon ramona randall
randolph raoul raphael raquel raul ray raymond rebecca regina reginald regis reid reinhard reinhold
remy renata renate rene reuben rex rhea rhoda rhonda ricardo richard rick rita robert roberta
roberto robin rocco rochelle roderick rodney rodrigo roger roland rolf roman romeo romy ronald rory
rosa rosalie rosalind rosamund rosanna rose rosemary rosetta rosie ross rowan rowena roxanne roy
ruben ruby rudolf rufus rupert russell ruth ryan sabina sabine sabrina sadie sally salma salome
salvador sam samantha samara samson samuel sandra santiago sara sarah sasha saul savannah scarlett
scott sean sebastian selena selina selma septimus serafina serena serge sergei sergio seth severin
seymour shane shannon sharon sheila sheldon shirley sibyl sidney sidonie siegfried sienna sigmund
sigrid silas silvana silvia simeon simon simona simone sofia solange solomon sonia sophia sophie
spencer stanley stefan stefania stella stephanie stephen steven stewart stuart sully summer susan
susanna susanne suzanne sven svetlana sybil sylvester sylvia sylvie tabitha talia tamara tamsin
tania tara tatiana ted terence teresa terry tess tessa thaddeus thalia thelma theo theodor theodora
theodore theresa therese thomas thora thorsten tiffany tilda till timothy tina tobias toby todd tom
tomas toni torsten tracy travis trevor tricia tristan trudy tyler ulla ulrich ulrike una ursula uta
valentin valentina valentine valeria valerie vanessa vaughn vera verena vernon verona veronica
vicente vicky victor victoria vidal vienna vilma vincent vincenzo viola violet virgil virginia vita
vito vivian viviana vivienne vladimir wade waldo walker wallace wally walter wanda warren wayne
wendell wendy werner wesley wilbur wilfred wilhelm wilhelmina will willa willard william willow
wilma winifred winona winston wolfgang wyatt xander xavier xenia yannick yasmin yolanda ysabel
yvette yvonne zachary zara zelda zelma zeno zita zoe zora zuleika
"""
