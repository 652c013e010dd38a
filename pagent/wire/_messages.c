/* The messages that nearly all of a link consists of, taken apart (docs/protocol.rst, "Messages").

   The same as pagent.wire.apart: stream messages with a bin and the beginnings of calls, in the forms that encoders
   choose. For any other message, and for what is wrong with one, there is pagent.wire.messages. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

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
    return PyModule_Create(&definition);
}
