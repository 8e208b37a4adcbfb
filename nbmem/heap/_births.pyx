# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Note which addresses got a new object of the collector's since a moment, by looking at its youngest generation.

Objects join the end of the youngest generation, and leave it only when they die or a collection starts; so what
is behind a marker there is new, and whoever looks whenever a collection is about to start misses none.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

import gc
from types import BuiltinFunctionType, FunctionType, MethodType

import numpy as np

from nbmem.heap.own import is_own
from nbmem.heap.typenames import module_of

cdef extern from "_objects.h":
    """
    #if PY_VERSION_HEX < 0x030E0000
    #define NBMEM_SEES_BIRTHS 1
    /* Give the object before another one (NULL: the last of all) in the youngest generation. */
    static uint64_t nbmem_younger(uint64_t address)
    {
        PyGC_Head *head = &PyInterpreterState_Get()->gc.generations[0].head;
        PyGC_Head *at = address ? (PyGC_Head *)address - 1 : head;
        at = (PyGC_Head *)(at->_gc_prev & _PyGC_PREV_MASK);
        return at == head ? 0 : (uint64_t)(at + 1);
    }
    #else
    #define NBMEM_SEES_BIRTHS 0
    static uint64_t nbmem_younger(uint64_t address) { return 0; }
    #endif
    """
    int SEES_BIRTHS "NBMEM_SEES_BIRTHS"
    uint64_t nbmem_younger(uint64_t) noexcept
    int nbmem_collecting() noexcept

ctypedef struct Slot:
    uint64_t address
    uint64_t epoch

cdef tuple BOUND = (MethodType, BuiltinFunctionType)
cdef list CALLBACKS = gc.callbacks  # the collector has this list, whatever the name stands for later

#: Whether this interpreter's collector can be read so.
AVAILABLE = bool(SEES_BIRTHS)


def _is_ours(callback):
    """Tell whether a callback is of nbmem's; no code of it runs."""
    if type(callback) in BOUND:
        return is_own(module_of(type(callback.__self__)))
    module = callback.__module__ if type(callback) is FunctionType else None
    return type(module) is str and is_own(module)


cdef class Births:
    """The addresses of objects that were born while it watched, each with the epoch in which.

    12 to 32 bytes for each; what is born at an address again takes no more.
    """

    cdef Slot *slots
    cdef uint64_t mask
    cdef Py_ssize_t count
    cdef list marker
    cdef readonly uint64_t epoch
    #: The last epoch in which some may have been missed: no memory was left, or the youngest generation was
    #: emptied unseen (``gc.freeze``, a callback that somebody took out), or filled after it was looked at (by a
    #: callback of somebody's behind this one). 0: none.
    cdef readonly uint64_t lost

    def __cinit__(self):
        self.mask = (1 << 12) - 1
        self.slots = <Slot *>calloc(self.mask + 1, sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError
        self.epoch = 0

    def __dealloc__(self):
        free(self.slots)

    cdef Slot *_find(self, Slot *slots, uint64_t mask, uint64_t address) noexcept:
        cdef uint64_t at = (((address >> 16) * <uint64_t>0x9E3779B97F4A7C15 >> 32) + (address >> 4 & 0xFFF)) & mask
        while slots[at].address != 0 and slots[at].address != address:
            at = (at + 1) & mask
        return &slots[at]

    cdef bint _grow(self) noexcept:
        cdef uint64_t mask = self.mask * 2 + 1, i
        cdef Slot *slots = <Slot *>calloc(mask + 1, sizeof(Slot))
        if slots == NULL:
            self.lost = self.epoch
            return False
        for i in range(self.mask + 1):
            if self.slots[i].address:
                self._find(slots, mask, self.slots[i].address)[0] = self.slots[i]
        free(self.slots)
        self.slots = slots
        self.mask = mask
        return True

    def note(self):
        """Note what was born since the last time."""
        if not nbmem_collecting():  # a finalizer asks: when the collection began, it was noted
            self._note()

    cdef void _note(self) noexcept:
        cdef uint64_t end = <uint64_t><void *>self.marker if self.marker is not None else 0
        cdef uint64_t address
        cdef Slot *slot
        address = nbmem_younger(0)
        while address != 0 and address != end:
            slot = self._find(self.slots, self.mask, address)
            if not slot.address:
                if <uint64_t>(self.count + 1) * 10 > (self.mask + 1) * 7:
                    if not self._grow():
                        return
                    slot = self._find(self.slots, self.mask, address)
                slot.address = address
                self.count += 1
            slot.epoch = self.epoch
            address = nbmem_younger(address)
        if address == 0 and end != 0:
            self.lost = self.epoch

    def mark(self, const uint64_t[::1] addresses):
        """Tell in which epoch the object of each address was born, and begin another epoch.

        The walk calls it where nothing can have been born since it saw its first object.

        Returns
        -------
        array of uint32, int, int
            0: before the first epoch. Then the last epoch in which some may have been missed, and the new one.
        """
        self._note()
        born = self.born(addresses)
        lost = self.lost
        self.epoch += 1
        self.marker = []
        return born, lost, self.epoch

    def on_collection(self, phase, info):
        """Note before the youngest generation is emptied; an entry of ``gc.callbacks``."""
        if phase == "start" and not self.is_last():
            self.lost = self.epoch
        self._note()
        self.marker = None if phase == "start" else []

    def is_last(self):
        """Tell whether no callback of somebody's stands behind this one: what that makes would be missed."""
        cdef Py_ssize_t i
        for i in range(len(CALLBACKS) - 1, -1, -1):
            each = CALLBACKS[i]
            if type(each) in BOUND and each.__self__ is self:
                return True
            if not _is_ours(each):
                return False
        return False

    def put_last(self, entry):
        """Let this be the last callback, unless they are being called: one would be left out then."""
        if not nbmem_collecting() and not self.is_last():
            CALLBACKS[:] = [each for each in CALLBACKS if each is not entry]
            CALLBACKS.append(entry)

    def born(self, const uint64_t[::1] addresses):
        """Tell in which epoch the object of each address was born; 0: before the first.

        Returns
        -------
        array of uint32
        """
        epochs_array = np.zeros(addresses.shape[0], np.uint32)
        cdef uint32_t[::1] epochs = epochs_array
        cdef Slot *slot
        cdef Py_ssize_t i
        for i in range(addresses.shape[0]):
            slot = self._find(self.slots, self.mask, addresses[i])
            if slot.address:
                epochs[i] = <uint32_t>slot.epoch
        return epochs_array
