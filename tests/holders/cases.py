"""What holds an object in a notebook: one case each, built so that nothing else holds it.

The cells of a case are run, then nbmem and others are asked who holds ``ref()``. What is expected is written
with ``In[n]``, ``Out[n]`` and ``_n`` for numbers of cells, and ``#`` for names that libraries make up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Run before each case, in an empty namespace.
SETUP = """
import gc, sys, weakref
class Thing:
    def work(self, *args, **kwargs): pass
def made():
    global ref
    thing = Thing()
    thing.data = bytearray(100_000)
    ref = weakref.ref(thing)
    return thing
"""


@dataclass(frozen=True)
class Case:
    """One holder.

    Parameters
    ----------
    name : str
    cells : tuple of str
        What builds it.
    kind : str
        The kind of the root that is to be named; empty if nothing holds the object.
    path : str
        The path in words.
    cure : str
        What is to be printed to type; empty if there is none.
    ask : str
        The expression that gives the object.
    gone : str
        Tells whether it was freed.
    otherwise : str
        What lets go of it where there is no cure: so it was this that held it.
    needs : tuple of str
        Libraries.
    state : str
        What becomes of the object by itself, if it is not held.
    more : int
        Paths that are told of besides.
    """

    name: str
    cells: tuple[str, ...]
    kind: str
    path: str
    cure: str = ""
    ask: str = "ref()"
    gone: str = "ref() is None"
    otherwise: str = ""
    needs: tuple[str, ...] = field(default=())
    state: str = "held"
    more: int = 0


_LOAD = """\
def load(n):
    batch = made()
    raise ValueError(n)
"""

NOTEBOOK = [
    Case("a variable", ("kept = made()",), "variable", "kept", "del kept"),
    Case("two variables", ("kept = other = made()",), "variable", "kept  (also other)", "del kept, other"),
    Case("a variable with an underscore", ("_mine = made()",), "variable", "_mine", "del _mine"),
    Case("a displayed value", ("made()",), "output", "Out[n]", "%memfree Out[n]"),
    Case(
        "a displayed value, deleted from Out",
        ("made()", "number = max(Out); del Out[number], globals()[f'_{number}']; del number"),
        "output",
        "output _",
        "%memfree --outputs",
    ),
    Case(
        "a displayed value, deleted from all that one sees",
        (
            "made()",
            "number = max(Out); del Out[number], globals()[f'_{number}']; del number",
            "1",
            "2",
            "3",
        ),
        "output",
        "output _n, hidden by IPython",
        "%memfree --outputs",
    ),
    Case(
        "the display hook alone",
        (
            "made()",
            "Out.clear()\nfor space in (get_ipython().user_ns, get_ipython().user_ns_hidden):\n"
            "    for name in [name for name in space if name.strip('_').isdigit() or name in ('_', '__', '___')]: "
            "del space[name]\ndel space, name",
        ),
        "output",
        "get_ipython().displayhook._",
        "%memfree --outputs",
    ),
    Case(
        "inside of a displayed value",
        ("{'rows': [made()]}",),
        "output",
        "Out[n]['rows'][0]",
        "%memfree Out[n]",
    ),
    Case(
        "a local of the last error",
        (_LOAD + "load(3)",),
        "error",
        "local 'batch' of load() at In[n] line 3, kept by the last error",
        "%memfree --errors",
    ),
    Case(
        "the context of the last error",
        (_LOAD + "try:\n    load(3)\nexcept ValueError:\n    1 / 0",),
        "error",
        "local 'batch' of load() at In[n] line 3, kept by the last error",
        "%memfree --errors",
    ),
    Case(
        "the cause of the last error",
        (_LOAD + "try:\n    load(3)\nexcept ValueError as error:\n    raise KeyError from error",),
        "error",
        "local 'batch' of load() at In[n] line 3, kept by the last error",
        "%memfree --errors",
    ),
    Case(
        "an argument of the last error",
        ("raise ValueError(made())",),
        "error",
        "the last error.args[0]",
        "%memfree --errors",
    ),
    Case(
        "an error in a variable",
        (_LOAD + "try:\n    load(3)\nexcept ValueError as error:\n    kept = error",),
        "variable",
        "local 'batch' of load() at In[n] line 3, kept by kept",
        "kept.__traceback__ = None",
    ),
    Case(
        "an event callback of IPython",
        ("get_ipython().events.register('post_run_cell', made().work)",),
        "shell",
        "get_ipython().events.callbacks['post_run_cell'][#].__self__",
        "del get_ipython().events.callbacks['post_run_cell'][#]",
    ),
    Case(
        "an input transformer of IPython",
        (
            "def setup():\n    thing = made()\n    def transform(lines):\n        thing\n        return lines\n"
            "    get_ipython().input_transformers_post.append(transform)\nsetup()\ndel setup",
        ),
        "shell",
        "closure of setup.<locals>.transform() (cell 'thing'), held by get_ipython().input_transformers_post[0]",
        "del get_ipython().input_transformers_post[0]",
    ),
    Case(
        "a display formatter of IPython",
        (
            "formatter = get_ipython().display_formatter.formatters['text/html']\n"
            "formatter.for_type(Thing, made().work)\ndel formatter, Thing",
        ),
        "shell",
        "get_ipython().display_formatter.formatters['text/html'].type_printers[<type>].__self__",
        "get_ipython().display_formatter.formatters['text/html'].type_printers.clear()",
    ),
]

CONTAINERS = [
    Case(
        "a value in a dict in a list",
        ("cache = {'2019': [0, {'a': made()}]}",),
        "variable",
        "cache['2019'][1]['a']",
        "del cache['2019'][1]['a']",
    ),
    Case(
        "many places of a list",
        ("thing = made()\nitems = [thing] * 4812\ndel thing",),
        "variable",
        "items[*]",
        "items.clear()",
    ),
    Case(
        "a key of a dict",
        ("seen = {made(): 1, 'other': 2}",),
        "variable",
        "a key of seen",
        "del seen[next(key for key in seen if id(key) == #)]",
    ),
    Case(
        "an element of a set",
        ("seen = {made(), 1, 2}",),
        "variable",
        "an element of seen",
        "seen.discard(next(each for each in seen if id(each) == #))",
    ),
    Case(
        "an element of a frozenset",
        ("seen = frozenset([made(), 1])",),
        "variable",
        "an element of seen",
        "del seen",
    ),
    Case(
        "a deque",
        ("from collections import deque\nlast = deque([0, made()], maxlen=5)",),
        "variable",
        "last[1]",
        "del last[1]",
    ),
    Case(
        "a defaultdict",
        ("from collections import defaultdict\ngroups = defaultdict(list)\ngroups['a'].append(made())",),
        "variable",
        "groups['a'][0]",
        "del groups['a'][0]",
    ),
    Case(
        "the value in a WeakKeyDictionary",
        ("key = Thing()\nnotes = weakref.WeakKeyDictionary({key: made()})",),
        "variable",
        "notes[<Thing>]",
        "del notes[next(key for key in notes if id(key) == #)]",
    ),
    Case(
        "slots",
        ("class Slim:\n    __slots__ = ('a',)\nslim = Slim()\nslim.a = made()",),
        "variable",
        "slim.a",
        "del slim.a",
    ),
    Case(
        "a namedtuple",
        ("from collections import namedtuple\nrow = namedtuple('Row', 'a b')(1, made())",),
        "variable",
        "row[1]",
        "del row",
    ),
    Case(
        "a dataclass",
        ("import dataclasses\n@dataclasses.dataclass\nclass Row:\n    value: object\nrow = Row(made())",),
        "variable",
        "row.value",
        "del row.value",
    ),
    Case(
        "an attribute of an attribute",
        ("class Model: pass\nmodel = Model()\nmodel.layer = Model()\nmodel.layer.state = {'w': made()}",),
        "variable",
        "model.layer.state['w']",
        "del model.layer.state['w']",
    ),
    Case(
        "a property's backing field",
        ("class Box:\n    value = property(lambda self: self._value)\nbox = Box()\nbox._value = made()",),
        "variable",
        "box._value",
        "del box._value",
    ),
    Case(
        "a name with quotes, a newline and markup",
        ("names = {'it\\'s \"x\"\\n<img onerror=alert(1)>': made()}",),
        "variable",
        "names['it\\'s \"x\"\\n<img onerror=alert(1)>']",
        "del names['it\\'s \"x\"\\n<img onerror=alert(1)>']",
    ),
    Case(
        "an object that fights back",
        (
            "class Hostile:\n"
            "    __class__ = property(lambda self: 1 / 0)\n"
            "    __hash__ = None\n"
            "    def __getattribute__(self, name): raise RuntimeError(name)\n"
            "    def __eq__(self, other): raise RuntimeError\n"
            "    def __repr__(self): raise RuntimeError\n"
            "    def __len__(self): raise RuntimeError\n"
            "    def __bool__(self): raise RuntimeError\n"
            "hostile = Hostile()\nobject.__setattr__(hostile, 'inner', [made()])",
        ),
        "variable",
        "hostile.inner[0]",
        "del hostile",
    ),
    Case(
        "a proxy",
        (
            "class Proxy:\n"
            "    def __init__(self, real): object.__setattr__(self, 'real', real)\n"
            "    def __getattr__(self, name): return getattr(object.__getattribute__(self, 'real'), name)\n"
            "    __class__ = property(lambda self: type(object.__getattribute__(self, 'real')))\n"
            "proxy = Proxy(made())",
        ),
        "variable",
        "proxy.real",
        "del proxy.real",
    ),
    Case(
        "a dict with hostile keys",
        (
            "class Key:\n    def __hash__(self): return 7\n    def __eq__(self, other): raise RuntimeError\n"
            "    def __repr__(self): raise RuntimeError\ntable = {Key(): made()}",
        ),
        "variable",
        "table[<Key>]",
        "table.clear()",
    ),
    Case(
        "a chain of 10 000 links",
        ("head = [made()]\nfor _i in range(9_999): head = [head]\ndel _i",),
        "variable",
        "head([0] × 10,000)",
        "del head",
    ),
    Case(
        "a linked list of instances",
        (
            "class Node: pass\nhead = Node(); head.next = made()\n"
            "for _i in range(5_000):\n    node = Node(); node.next = head; head = node\ndel _i, node",
        ),
        "variable",
        "head(.next × 5,001)",
        "del head",
    ),
    Case(
        "100 000 dicts in a list",
        ("thing = made()\nrows = [{'thing': thing} for _ in range(100_000)]\ndel thing",),
        "variable",
        "rows[*]['thing']",
        "[each.pop('thing', None) for each in rows];",
    ),
    Case(
        "100 000 instances in a list",
        (
            "class Row:\n    def __init__(self, thing): self.thing = thing\n"
            "thing = made()\nrows = [Row(thing) for _ in range(100_000)]\ndel thing",
        ),
        "variable",
        "rows[*].thing",
        "[vars(each).pop('thing', None) for each in rows];",
    ),
]

FUNCTIONS = [
    Case(
        "a default of a function",
        ("def work(x, kept=made()): pass",),
        "variable",
        "work.__defaults__[0]",
        "del work",
    ),
    Case(
        "a keyword default",
        ("def work(*, kept=made()): pass",),
        "variable",
        "work.__kwdefaults__['kept']",
        "del work.__kwdefaults__['kept']",
    ),
    Case(
        "a closure",
        (
            "def make_handler():\n    batch = made()\n    def handler(): return batch\n    return handler\nhandler = make_handler()",
        ),
        "variable",
        "closure of make_handler.<locals>.handler() (cell 'batch'), held by handler",
        "del handler",
    ),
    Case(
        "a closure in a closure",
        (
            "def outer():\n    batch = made()\n    def middle():\n        def inner(): return batch\n        return inner\n"
            "    return middle()\ninner = outer()",
        ),
        "variable",
        "closure of outer.<locals>.middle.<locals>.inner() (cell 'batch'), held by inner",
        "del inner",
    ),
    Case(
        "an attribute of a function",
        ("def work(): pass\nwork.cache = {'a': made()}",),
        "variable",
        "work.cache['a']",
        "del work.cache['a']",
    ),
    Case(
        "the cache of a function",
        ("import functools\n@functools.lru_cache\ndef load(n): return made()\nload(1); None",),
        "variable",
        "result cache of load",
        "load.cache_clear()",
    ),
    Case(
        "an argument in the cache of a function",
        ("import functools\n@functools.lru_cache\ndef size(thing): return 1\nsize(made()); None",),
        "variable",
        "result cache of size",
        "size.cache_clear()",
    ),
    Case(
        "an unbounded cache",
        ("import functools\n@functools.cache\ndef load(n): return made()\nload(1); None",),
        "variable",
        "result cache of load",
        "load.cache_clear()",
    ),
    Case(
        "the cache of a method",
        (
            "import functools\nclass Loader:\n    @functools.lru_cache(maxsize=8)\n    def load(self, n): return made()\n"
            "Loader().load(1); None",
        ),
        "class",
        "result cache of Loader.load",
        "Loader.load.cache_clear()",
    ),
    Case(
        "a cached property",
        (
            "import functools\nclass Loader:\n    @functools.cached_property\n    def data(self): return made()\n"
            "loader = Loader()\nloader.data; None",
        ),
        "variable",
        "loader.data",
        "del loader.data",
    ),
    Case(
        "a partial",
        ("import functools\njob = functools.partial(print, made())",),
        "variable",
        "job.args[0]",
        "del job",
    ),
    Case(
        "a bound method in a list",
        ("callbacks = [print, made().work]",),
        "variable",
        "callbacks[1].__self__",
        "del callbacks[1]",
    ),
    Case(
        "an attribute of a class",
        ("class Store: pass\nStore.kept = made()",),
        "class",
        "Store.kept",
        "del Store.kept",
    ),
    Case(
        "a class made in a function",
        (
            "def make():\n    class Store: pass\n    Store.kept = made()\n    return Store\nstores = {'a': make()}",
        ),
        "variable",
        "stores['a'].kept",
        "del stores['a'].kept",
    ),
    Case(
        "an instance of a class made in a function",
        ("def make():\n    class Store: pass\n    Store.kept = made()\n    return Store\nstore = make()()",),
        "variable",
        "type(store).kept",
        "del type(store).kept",
    ),
    Case(
        "a suspended generator",
        ("def rows():\n    table = made()\n    yield 1\n    print(table)\ngen = rows()\nnext(gen); None",),
        "variable",
        "local 'table' of the generator rows(), suspended at In[n] line 3, held by gen",
        "gen.close()",
    ),
    Case(
        "a coroutine that nobody awaited",
        ("async def job(thing): pass\npending = job(made())",),
        "variable",
        "local 'thing' of the coroutine job(), suspended at In[n] line 1, held by pending",
        "pending.close()",
    ),
]

INTERPRETER = [
    Case(
        "a global of a module",
        ("import user_module\nuser_module.KEPT = made()\ndel user_module",),
        "module",
        "user_module.KEPT",
        "import user_module; del user_module.KEPT",
    ),
    Case(
        "a cache in a module of a package",
        ("import user_package.part\nuser_package.part.CACHE['a'] = made()\ndel user_package",),
        "module",
        "user_package.part.CACHE['a']",
        "import user_package.part; del user_package.part.CACHE['a']",
    ),
    Case(
        "a class of a module",
        ("import user_module\nuser_module.Registry.items.append(made())\ndel user_module",),
        "class",
        "user_module.Registry.items[0]",
        "import user_module; del user_module.Registry.items[0]",
    ),
    Case(
        "a running frame in a thread",
        (
            "import threading, builtins\nbuiltins.stop = threading.Event()\n"
            "def serve():\n    batch = made()\n    ready.set()\n    stop.wait()\n"
            "ready = threading.Event()\nthreading.Thread(target=serve, name='server').start()\nready.wait()\ndel serve; None",
        ),
        "frame",
        "local 'batch' of serve() at In[n] line 6 in thread 'server', running",
        "",
        otherwise="import threading; stop.set(); [each.join() for each in threading.enumerate() if each.name == 'server']",
    ),
    Case(
        "an argument of a thread",
        (
            "import threading, builtins\nbuiltins.stop = threading.Event()\n"
            "threading.Thread(target=lambda thing: stop.wait() and 1, args=(made(),), name='server').start()",
        ),
        "frame",
        "local 'thing' of <lambda>() at In[n] line 3 in thread 'server', running",
        "",
        more=2,
        otherwise="import threading; stop.set(); [each.join() for each in threading.enumerate() if each.name == 'server']",
    ),
    Case(
        "a thread object that never ran",
        ("import threading\njob = threading.Thread(target=made().work)",),
        "variable",
        "job._target.__self__",
        "del job",
    ),
    Case(
        "a task of asyncio",
        (
            "import asyncio, builtins\nasync def job(thing):\n    await asyncio.sleep(3600)\n"
            "builtins.job = asyncio.ensure_future(job(made()))\nbuiltins.job.set_name('nightly')\n"
            "await asyncio.sleep(0)\ndel builtins.job, job",
        ),
        "task",
        "local 'thing' of the coroutine job(), suspended at In[n] line 3, held by the task 'nightly' of asyncio",
        "import asyncio; next(task for task in asyncio.all_tasks() if task.get_name() == 'nightly').cancel()",
    ),
    Case(
        "a call that is to be made later",
        ("import asyncio\nasyncio.get_running_loop().call_later(3600, made().work); None",),
        "event loop",
        "asyncio.get_event_loop()._scheduled[#]._callback.__self__",
        "import asyncio; asyncio.get_event_loop()._scheduled[#].cancel()",
    ),
    Case(
        "a callback of a future",
        (
            "import asyncio\nfuture = asyncio.get_running_loop().create_future()\n"
            "future.add_done_callback(made().work)",
        ),
        "variable",
        "future → method.__self__",
        "del future",
    ),
    Case(
        "a context variable",
        (
            "import contextvars\nrequest = contextvars.ContextVar('request')\n"
            "kept = contextvars.copy_context()\nkept.run(request.set, made()); None",
        ),
        "variable",
        "context variable 'request', held by kept",
        "del kept",
    ),
    Case(
        "a variable of a thread",
        ("import threading\nlocals_ = threading.local()\nlocals_.kept = made()",),
        "variable",
        "locals_.kept",
        "del locals_.kept",
    ),
    Case(
        "an argument of a finalizer",
        ("owner = Thing()\nweakref.finalize(owner, print, made()).atexit = False",),
        "class",
        "weakref.finalize._registry[<finalize>].args[0]",
        "import weakref; list(weakref.finalize._registry)[#].detach();",
    ),
    Case(
        "an exit callback",
        (
            "import atexit\nthing = made()\ndef goodbye(thing=thing): pass\natexit.register(goodbye); del thing, goodbye",
        ),
        "exit callback",
        "the exit callback goodbye().__defaults__[0]",
        "",
        otherwise="import atexit\n[atexit.unregister(each) for each in gc.get_objects() if getattr(each, '__name__', '') == 'goodbye'];",
    ),
    Case(
        "an argument of an exit callback",
        ("import atexit\ndef goodbye(thing): pass\natexit.register(goodbye, made()); None",),
        "exit callback",
        "arguments of the exit callback goodbye()[0]",
        "import atexit; atexit.unregister(goodbye)",
    ),
    Case(
        "a method as exit callback",
        ("import atexit\nthing = made()\natexit.register(thing.work); None",),
        "exit callback",
        "the exit callback Thing.work().__self__",
        "import atexit; atexit.unregister(thing.work)",
        ask="thing",
    ),
    Case(
        "a handler of a logger",
        (
            "import logging\nhandler = logging.NullHandler()\nhandler.kept = made()\n"
            "logging.getLogger('app.db').addHandler(handler)\ndel handler",
        ),
        "logger",
        "logging.getLogger('app.db').handlers[0].kept",
        "import logging; logging.getLogger('app.db').removeHandler(logging.getLogger('app.db').handlers[0])",
    ),
    Case(
        "a filter of a logger",
        ("import logging\nlogging.getLogger('app.web').addFilter(made().work)",),
        "logger",
        "logging.getLogger('app.web').filters[0].__self__",
        "import logging; logging.getLogger('app.web').removeFilter(logging.getLogger('app.web').filters[0])",
    ),
    Case(
        "the buffer of a memory handler",
        (
            "import logging, logging.handlers\nlogger = logging.getLogger('app.mem')\nlogger.propagate = False\n"
            "logger.addHandler(logging.handlers.MemoryHandler(1000))\nlogger.warning('%s', made())\ndel logger",
        ),
        "logger",
        "logging.getLogger('app.mem').handlers[0].buffer[0].args[0]",
        "import logging; logging.getLogger('app.mem').removeHandler(logging.getLogger('app.mem').handlers[0])",
    ),
    Case(
        "the registry of warnings",
        (
            "import warnings, user_module\ndef warn():\n    global ref\n    class Odd(UserWarning): pass\n"
            "    ref = weakref.ref(Odd)\n"
            "    registry = vars(user_module).setdefault('__warningregistry__', {})\n"
            "    with warnings.catch_warnings():\n        warnings.simplefilter('default')\n"
            "        warnings.showwarning = lambda *args: None\n"
            "        warnings.warn_explicit(Odd('x'), None, 'user_module.py', 3, registry=registry)\n"
            "warn()\ndel user_module, warn",
        ),
        "module",
        "a key of user_module.__warningregistry__[1]",
        "import user_module; del user_module.__warningregistry__[next(key for key in "
        "user_module.__warningregistry__ if id(key) == #)]",
    ),
    Case(
        "a callback of the collector",
        ("gc.callbacks.append(made().work)",),
        "module",
        "gc.callbacks[#].__self__",
        "import gc; del gc.callbacks[#]",
    ),
    Case(
        "the collector's garbage list",
        ("gc.garbage.append(made())",),
        "module",
        "gc.garbage[0]",
        "import gc; del gc.garbage[0]",
    ),
    Case(
        "a signal handler",
        ("import signal\nsignal.signal(signal.SIGUSR2, made().work); None",),
        "signal handler",
        "signal.getsignal(signal.SIGUSR2).__self__",
        "import signal; signal.signal(signal.SIGUSR2, signal.SIG_DFL);",
    ),
    Case(
        "a hook of sys",
        ("sys.unraisablehook = made().work",),
        "module",
        "sys.unraisablehook.__self__",
        "import sys; sys.unraisablehook = sys.__unraisablehook__",
    ),
    Case(
        "a hook of threads",
        ("import threading\nthreading.excepthook = made().work",),
        "module",
        "threading.excepthook.__self__",
        "import threading; threading.excepthook = threading.__excepthook__",
    ),
    Case(
        "a trace function",
        ("sys.settrace(made().work)",),
        "trace function",
        "sys.gettrace().__self__",
        "import sys; sys.settrace(None)",
    ),
    Case(
        "a profile function",
        ("sys.setprofile(made().work)",),
        "trace function",
        "sys.getprofile().__self__",
        "import sys; sys.setprofile(None)",
    ),
    Case(
        "an odd entry of sys.modules",
        ("sys.modules['odd'] = made()",),
        "module",
        "sys.modules['odd']",
        "import sys; del sys.modules['odd']",
    ),
    Case(
        "a cache of importers",
        ("sys.path_importer_cache['/nowhere'] = made()",),
        "module",
        "sys.path_importer_cache['/nowhere']",
        "import sys; del sys.path_importer_cache['/nowhere']",
    ),
    Case(
        "a finder of imports",
        (
            "class Finder:\n    def find_spec(self, *args): return None\nfinder = Finder()\nfinder.kept = made()\nsys.meta_path.append(finder)\ndel finder",
        ),
        "module",
        "sys.meta_path[#].kept",
        "import sys; del sys.meta_path[#].kept",
    ),
    Case(
        "native code alone",
        ("import ctypes\nthing = made()\nctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))\ndel thing",),
        "native code",
        "Thing, held by native code (1 reference above all that are visible)",
        "",
        otherwise="import ctypes; ctypes.pythonapi.Py_DecRef(ctypes.py_object(ref()))",
    ),
    Case(
        "a structure in C",
        (
            "import ctypes\nclass Box(ctypes.Structure):\n    _fields_ = [('thing', ctypes.py_object)]\n"
            "box = Box(made())",
        ),
        "variable",
        "box._objects['0']",
        "del box",
    ),
    Case(
        "a cycle that waits for the collector",
        ("thing = made()\nthing.me = thing\ndel thing",),
        "",
        "",
        otherwise="gc.collect(); None",
        state="garbage",
    ),
    Case("a temporary value", ("",), "", "", ask="made()", otherwise="None", state="temporary"),
    Case(
        "a WeakValueDictionary",
        ("names = weakref.WeakValueDictionary()\nthing = names['a'] = made()\nthing.me = thing\ndel thing",),
        "",
        "",
        otherwise="gc.collect(); None",
        state="garbage",
    ),
    Case(
        "an interned string",
        ("text = sys.intern('quite a ' + 'word' * 2)\nref = int",),
        "variable",
        "text",
        "del text",
        ask="text[:]",
        gone="'text' not in globals()",
    ),
]

_ARRAY = "import numpy as np\n"
_MADE_ARRAY = (
    _ARRAY
    + "def array():\n    global ref\n    big = np.ones(1 << 17)\n    ref = weakref.ref(big)\n    return big\n"
)

LIBRARIES = [
    Case(
        "an element of an object array",
        (_ARRAY + "cells = np.empty((2, 3), object)\ncells[1, 2] = made()",),
        "variable",
        "cells[1, 2]",
        "cells[1, 2] = None",
        needs=("numpy",),
    ),
    Case(
        "a field of a structured array",
        (_ARRAY + "cells = np.zeros(3, [('a', 'i8'), ('b', 'O')])\ncells[1] = (5, made())",),
        "variable",
        "cells['b'][1]",
        "cells['b'][1] = None",
        needs=("numpy",),
    ),
    Case(
        "the base of a view",
        (_MADE_ARRAY + "view = array()[:10]",),
        "variable",
        "view.base",
        "view = view.copy()",
        needs=("numpy",),
    ),
    Case(
        "the base of a view in a dict",
        (_MADE_ARRAY + "views = {'a': array()[:10]}",),
        "variable",
        "views['a'].base",
        "views['a'] = views['a'].copy()",
        needs=("numpy",),
    ),
    Case(
        "a memoryview",
        (
            "class Data(bytearray): pass\ndata = Data(1000)\nref = weakref.ref(data)\nview = memoryview(data)[5:]\ndel data",
        ),
        "variable",
        "view.obj",
        "view.release()",
    ),
    Case(
        "an array over a buffer",
        (
            _ARRAY
            + "class Data(bytearray): pass\ndata = Data(1000)\nref = weakref.ref(data)\nview = np.frombuffer(data, 'u1')\ndel data",
        ),
        "variable",
        "view.base.obj",
        "view = view.copy()",
        needs=("numpy",),
    ),
    Case(
        "attrs of a DataFrame",
        ("import pandas as pd\nframe = pd.DataFrame({'a': [1]})\nframe.attrs['source'] = made()",),
        "variable",
        "frame.attrs['source']",
        "del frame.attrs['source']",
        needs=("pandas",),
    ),
    Case(
        "the block of a frame by a column",
        (
            "import pandas as pd, numpy as np\nframe = pd.DataFrame(np.ones((1000, 50)))\n"
            "column = frame[3]\nref = weakref.ref(frame._mgr.blocks[0].values.base)\ndel frame",
        ),
        "variable",
        "column._mgr.blocks[0].values.base",
        "column = column.copy()",
        needs=("pandas",),
    ),
    Case(
        "an object column",
        ("import pandas as pd\nframe = pd.DataFrame({'a': pd.Series([made(), 1], dtype=object)})",),
        "variable",
        "frame._mgr.blocks[0].values[0, 0]",
        "del frame",
        needs=("pandas",),
    ),
    Case(
        "a groupby",
        (
            "import pandas as pd\ndef group():\n    global ref\n    frame = pd.DataFrame({'a': [1]})\n    ref = weakref.ref(frame)\n    return frame.groupby('a')\ngroups = group()",
        ),
        "variable",
        "groups.obj",
        "del groups",
        needs=("pandas",),
    ),
    Case(
        "the buffer of an Arrow array",
        (_MADE_ARRAY + "import pyarrow as pa\nkept = pa.array(array())",),
        "variable",
        "kept → numpy.ndarray",
        "del kept",
        needs=("pyarrow",),
    ),
    Case(
        "a figure of pyplot",
        (
            "import matplotlib.pyplot as plt\nplt.switch_backend('agg')\nfig, ax = plt.subplots()\nax.kept = made()\ndel fig, ax",
        ),
        "figure",
        "pyplot figure 1.canvas.figure._localaxes[0].kept",
        "import matplotlib.pyplot as plt; plt.close(1)",
        needs=("matplotlib",),
    ),
    Case(
        "a widget",
        ("import ipywidgets\nslider = ipywidgets.IntSlider()\nslider.kept = made()\ndel slider",),
        "widget",
        "ipywidgets' registry (IntSlider).kept",
        "import ipywidgets; ipywidgets.widgets.widget._instances['#'].close()",
        needs=("ipywidgets",),
    ),
    Case(
        "a callback of a widget",
        (
            "import ipywidgets\ndef setup():\n    thing = made()\n    button = ipywidgets.Button()\n"
            "    button.on_click(lambda _: thing)\nsetup()",
        ),
        "widget",
        "closure of setup.<locals>.<lambda>() (cell 'thing'), held by "
        "ipywidgets' registry (Button)._click_handlers.callbacks[0]",
        "import ipywidgets; ipywidgets.widgets.widget._instances['#'].close()",
        needs=("ipywidgets",),
    ),
    Case(
        "a comm",
        (
            "import comm\ndef setup():\n    thing = made()\n    channel = comm.create_comm(target_name='app')\n"
            "    channel.on_msg(lambda message: thing)\nsetup()",
        ),
        "comm",
        "closure of setup.<locals>.<lambda>() (cell 'thing'), held by the comm 'app'._msg_callback",
        "import comm; comm.get_comm_manager().comms['#'].close()",
        needs=("ipywidgets",),
    ),
    Case(
        "a target of comms",
        ("import comm\ncomm.get_comm_manager().register_target('app', made().work)",),
        "comm",
        "comm.get_comm_manager().targets['app'].__self__",
        "import comm; del comm.get_comm_manager().targets['app']",
        needs=("ipywidgets",),
    ),
]

CASES = [*NOTEBOOK, *CONTAINERS, *FUNCTIONS, *INTERPRETER, *LIBRARIES]
