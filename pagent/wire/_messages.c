/* The messages that nearly all of a link consists of, taken apart (spec prpc.md, "Messages"); and what they go through,
   asked for before they are.

   The same as pagent.wire.apart: stream messages with a bin and the beginnings of calls, in the forms that encoders
   choose. For any other message, and for what is wrong with one, there is pagent.wire.messages. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address, 1)
#else
#define PREFETCH(address) ((void)(address))
#endif

#define ARRAY_OF_3 0x93
#define ARRAY_OF_6 0x96
#define CALL_START 2
#define REQUEST_MESSAGE 4
#define RESPONSE_MESSAGE 8

/* The unsigned integer, big-endian, of so many bytes. */
static uint64_t
number(const unsigned char *p, int bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0)
        value = value << 8 | *p++;
    return value;
}

/* Where the call id ends, which is at offset 2; 0 if it is none, or has another form. */
static Py_ssize_t
id_of(const unsigned char *p, Py_ssize_t length, uint64_t *call_id)
{
    int bytes;

    if (p[2] < 0x80) {
        *call_id = p[2];
        return 3;
    }
    if (p[2] < 0xCC || p[2] > 0xCF)
        return 0;
    bytes = 1 << (p[2] - 0xCC);
    if (length < 3 + bytes)
        return 0;
    *call_id = number(p + 3, bytes);
    return 3 + bytes;
}

/* Where the bin begins that fills the message to its end; 0 if there is none. */
static Py_ssize_t
bin_of(const unsigned char *p, Py_ssize_t length, Py_ssize_t at)
{
    int bytes;

    if (length < at + 1 || p[at] < 0xC4 || p[at] > 0xC6)
        return 0;
    bytes = 1 << (p[at++] - 0xC4);
    if (length < at + bytes || number(p + at, bytes) != (uint64_t)(length - at - bytes))
        return 0;
    return at + bytes;
}

PyDoc_STRVAR(take_apart_doc,
"take_apart(payload, copied) -> (kind, call id, value) | None\n\n"
"For a stream message with a bin, its value: bytes if payload has no more than copied bytes, else a memoryview of it.\n"
"For the start of a call that has no more either, all that lies behind its id, as bytes. None for any other message.");

static PyObject *
take_apart(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer buffer;
    Py_ssize_t at = 0;
    uint64_t call_id;
    PyObject *value;

    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "take_apart(payload, copied)");
        return NULL;
    }
    Py_ssize_t copied = PyLong_AsSsize_t(args[1]);
    if (copied == -1 && PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    const unsigned char *data = buffer.buf;
    Py_ssize_t length = buffer.len;
    if (length >= 4) {
        if (data[0] == ARRAY_OF_3 && (data[1] == REQUEST_MESSAGE || data[1] == RESPONSE_MESSAGE)) {
            at = id_of(data, length, &call_id);
            if (at)
                at = bin_of(data, length, at);
        }
        else if (data[0] == ARRAY_OF_6 && data[1] == CALL_START && length <= copied) {
            at = id_of(data, length, &call_id);
            if (at == length)
                at = 0;
        }
    }
    if (!at) {
        PyBuffer_Release(&buffer);
        Py_RETURN_NONE;
    }
    long kind = data[1];
    if (length <= copied)
        value = PyBytes_FromStringAndSize((const char *)data + at, length - at);
    else {
        PyObject *view = PyMemoryView_FromObject(args[0]);
        value = view ? PySequence_GetSlice(view, at, length) : NULL;
        Py_XDECREF(view);
    }
    PyBuffer_Release(&buffer);

    PyObject *first = PyLong_FromLong(kind), *second = PyLong_FromUnsignedLongLong(call_id);
    PyObject *found = value && first && second ? PyTuple_Pack(3, first, second, value) : NULL;
    Py_XDECREF(first);
    Py_XDECREF(second);
    Py_XDECREF(value);
    return found;
}

PyDoc_STRVAR(with_id_doc,
"with_id(before, call_id, behind) -> bytes\n\n"
"A message of its parts; OverflowError for an id that is negative or has more than 64 bits.");

static PyObject *
with_id(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    unsigned char id[9];
    int bytes = 1;

    if (nargs != 3 || !PyBytes_Check(args[0]) || !PyLong_Check(args[1]) || !PyBytes_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "with_id(before: bytes, call_id: int, behind: bytes)");
        return NULL;
    }
    uint64_t value = PyLong_AsUnsignedLongLong(args[1]);
    if (value == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    if (value < 0x80)
        id[0] = (unsigned char)value;
    else {
        int doubled = value > 0xFFFFFFFF ? 3 : value > 0xFFFF ? 2 : value > 0xFF ? 1 : 0;
        id[0] = (unsigned char)(0xCC + doubled);
        bytes += 1 << doubled;
        for (int at = bytes - 1; at > 0; at--, value >>= 8)
            id[at] = (unsigned char)value;
    }
    Py_ssize_t before = PyBytes_GET_SIZE(args[0]), behind = PyBytes_GET_SIZE(args[2]);
    PyObject *message = PyBytes_FromStringAndSize(NULL, before + bytes + behind);
    if (message) {
        char *to = PyBytes_AS_STRING(message);
        memcpy(to, PyBytes_AS_STRING(args[0]), before);
        memcpy(to + before, id, bytes);
        memcpy(to + before + bytes, PyBytes_AS_STRING(args[2]), behind);
    }
    return message;
}

#define LINE 64
/* A footprint is four lines of the cache itself. */
#define LINES_OF_CALL 31
/* Of a large object, such as a transport, the first part is what each message needs. */
#define LINES_OF_OBJECT 6
/* A power of two. */
#define PLACES 16384
/* Messages: what is asked for is to be used before it is out of the caches again. */
#define AT_ONCE 64

typedef struct {
    uint64_t call_id;
    const char *lines[LINES_OF_CALL]; /* NULL behind the last one */
} Footprint;

typedef struct {
    PyObject_HEAD
    void *memory;
    Footprint *places; /* in memory, at the beginning of a line */
} Footprints;

static Footprint *
place_of(Footprints *self, uint64_t call_id)
{
    return &self->places[call_id & (PLACES - 1)];
}

static PyObject *
new_footprints(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (!PyArg_ParseTuple(args, "") || (kwargs && PyDict_GET_SIZE(kwargs))) {
        PyErr_SetString(PyExc_TypeError, "Footprints()");
        return NULL;
    }
    Footprints *self = (Footprints *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    /* So large that malloc takes it from the system (see pagent.cli.memory): what no call uses takes no memory. */
    self->memory = PyMem_RawCalloc(1, PLACES * sizeof(Footprint) + LINE);
    if (!self->memory) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->places = (Footprint *)(((uintptr_t)self->memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
    return (PyObject *)self;
}

static void
free_footprints(PyObject *self)
{
    PyMem_RawFree(((Footprints *)self)->memory);
    Py_TYPE(self)->tp_free(self);
}

PyDoc_STRVAR(keep_doc,
"keep(call id, *objects)\n\n"
"What the messages of this call go through. The objects are not kept alive: an address is asked for and never followed.\n"
"OverflowError for an id that is negative or has more than 64 bits.");

static PyObject *
keep(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || !PyLong_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "keep(call_id: int, *objects)");
        return NULL;
    }
    uint64_t call_id = PyLong_AsUnsignedLongLong(args[0]);
    if (call_id == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    Footprint *place = place_of((Footprints *)self, call_id);
    int count = 0;
    place->call_id = call_id;
    for (Py_ssize_t at = 1; at < nargs; at++) {
        const char *line = (const char *)((uintptr_t)args[at] & ~(uintptr_t)(LINE - 1));
        const char *end = (const char *)args[at] + Py_TYPE(args[at])->tp_basicsize;
        for (int left = LINES_OF_OBJECT; left && line < end && count < LINES_OF_CALL; left--, line += LINE)
            place->lines[count++] = line;
    }
    if (count < LINES_OF_CALL)
        place->lines[count] = NULL;
    Py_RETURN_NONE;
}

/* Whether it is a stream message, with whatever value. Of other types than these reading may run anything. */
static int
of_stream(PyObject *payload, uint64_t *call_id)
{
    Py_buffer buffer;

    if (!PyBytes_CheckExact(payload) && !PyByteArray_CheckExact(payload) && !PyMemoryView_Check(payload))
        return 0;
    if (PyObject_GetBuffer(payload, &buffer, PyBUF_SIMPLE) < 0) {
        PyErr_Clear();
        return 0;
    }
    const unsigned char *data = buffer.buf;
    int is_one = buffer.len >= 4 && data[0] == ARRAY_OF_3 && (data[1] == REQUEST_MESSAGE || data[1] == RESPONSE_MESSAGE)
        && id_of(data, buffer.len, call_id);
    PyBuffer_Release(&buffer);
    return is_one;
}

PyDoc_STRVAR(fetch_doc,
"fetch(messages) -> int\n\n"
"Ask memory for what the stream messages among these go through, to be there when they are dealt with: pairs of an\n"
"opcode and a payload, as the frame decoder gives them. How many have been recognised.");

static PyObject *
fetch(PyObject *self, PyObject *messages)
{
    Footprint *found[AT_ONCE];
    uint64_t ids[AT_ONCE];
    int count = 0, known = 0;

    if (!PyList_Check(messages)) {
        PyErr_SetString(PyExc_TypeError, "fetch(messages: list)");
        return NULL;
    }
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(messages) && count < AT_ONCE; at++) {
        PyObject *pair = PyList_GET_ITEM(messages, at);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 || !of_stream(PyTuple_GET_ITEM(pair, 1), &ids[count]))
            continue;
        found[count] = place_of((Footprints *)self, ids[count]);
        for (size_t line = 0; line < sizeof(Footprint); line += LINE)
            PREFETCH((const char *)found[count] + line);
        count++;
    }
    for (int at = 0; at < count; at++) {
        if (found[at]->call_id != ids[at] || !found[at]->lines[0])
            continue;
        known++;
        for (int line = 0; line < LINES_OF_CALL && found[at]->lines[line]; line++)
            PREFETCH(found[at]->lines[line]);
    }
    return PyLong_FromLong(known);
}

static PyMethodDef footprints_methods[] = {
    {"keep", (PyCFunction)(void (*)(void))keep, METH_FASTCALL, keep_doc},
    {"fetch", fetch, METH_O, fetch_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(footprints_doc,
"Where in memory the messages of each call lead.\n\n"
"With thousands of calls nothing of theirs is in the caches when a message comes. Each object is found by the last one, so\n"
"they would be waited for one after the other; asked for beforehand, for some dozens of messages, they come side by side.\n"
"Calls that are 16,384 apart share a place, which is that of the last one.");

static PyTypeObject footprints_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "pagent.wire._messages.Footprints",
    .tp_basicsize = sizeof(Footprints),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = footprints_doc,
    .tp_new = new_footprints,
    .tp_dealloc = free_footprints,
    .tp_methods = footprints_methods,
};

static PyMethodDef methods[] = {
    {"with_id", (PyCFunction)(void (*)(void))with_id, METH_FASTCALL, with_id_doc},
    {"take_apart", (PyCFunction)(void (*)(void))take_apart, METH_FASTCALL, take_apart_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_messages", "Messages of the common kinds.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__messages(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddType(module, &footprints_type) < 0)
        Py_CLEAR(module);
    return module;
}
