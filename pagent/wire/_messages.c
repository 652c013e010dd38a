/* Decode the messages that nearly all of a link consists of (docs/protocol.rst, "Messages").

   The same as pagent.wire.fast_path: stream messages with a bin, the starts of calls and results of successful calls, in the
   forms that encoders choose. pagent.wire.messages decodes every other message, and reports faults. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_OF_3 0x93
#define ARRAY_OF_4 0x94
#define ARRAY_OF_5 0x95
#define ARRAY_OF_6 0x96
#define CALL_START 2
#define REQUEST_MESSAGE 4
#define RESULT 7
#define RESPONSE_MESSAGE 8

/* The end of a result after its value: the status of a success, no error. */
static const char SUCCESS_END[2] = "\x00\xc0";

/* Return the big-endian unsigned integer of the given length in bytes. */
static uint64_t
number(const unsigned char *p, int bytes)
{
    uint64_t value = 0;

    while (bytes-- > 0)
        value = value << 8 | *p++;
    return value;
}

/* Return the offset after the call id, which is at offset 2; 0 if it has another form. */
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

/* Return the offset of the bytes of a bin that fills the message to its end; 0 without one. */
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

PyDoc_STRVAR(decode_common_doc,
"decode_common(payload, copied) -> (kind, call id, value) | None\n\n"
"The value of a stream message with a bin is its payload: bytes if the message has at most copied bytes, otherwise a\n"
"memoryview. That of a result is its packed value, in the same way. The value of a call start of at most copied bytes is\n"
"an array of all that follows its id, packed. None for any other message.");

static PyObject *
decode_common(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer buffer;
    Py_ssize_t at = 0;
    uint64_t call_id;
    PyObject *value;

    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "decode_common(payload, copied)");
        return NULL;
    }
    Py_ssize_t copied = PyLong_AsSsize_t(args[1]);
    if (copied == -1 && PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    const unsigned char *data = buffer.buf;
    Py_ssize_t length = buffer.len, end = length;
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
        else if (data[0] == ARRAY_OF_5 && data[1] == RESULT) {
            end -= sizeof(SUCCESS_END);
            at = id_of(data, end, &call_id);
            if (at)
                at = memcmp(data + end, SUCCESS_END, sizeof(SUCCESS_END)) == 0 ? bin_of(data, end, at) : 0;
        }
    }
    if (!at) {
        PyBuffer_Release(&buffer);
        Py_RETURN_NONE;
    }
    long kind = data[1];
    if (kind == CALL_START) {
        value = PyBytes_FromStringAndSize(NULL, 1 + length - at);
        if (value != NULL) {
            *PyBytes_AS_STRING(value) = (char)ARRAY_OF_4;
            memcpy(PyBytes_AS_STRING(value) + 1, data + at, length - at);
        }
    }
    else if (length <= copied)
        value = PyBytes_FromStringAndSize((const char *)data + at, end - at);
    else {
        PyObject *view = PyMemoryView_FromObject(args[0]);
        value = view ? PySequence_GetSlice(view, at, end) : NULL;
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

/* Write a tag and a big-endian number of the given length in bytes; return where it ends. */
static unsigned char *
put(unsigned char *to, int tag, uint64_t value, int bytes)
{
    *to = (unsigned char)tag;
    for (int i = bytes; i > 0; value >>= 8)
        to[i--] = (unsigned char)value;
    return to + 1 + bytes;
}

/* Write the head of a bin. */
static unsigned char *
put_bin(unsigned char *to, size_t length)
{
    if (length <= 0xFF)
        return put(to, 0xC4, length, 1);
    return length <= 0xFFFF ? put(to, 0xC5, length, 2) : put(to, 0xC6, length, 4);
}

PyDoc_STRVAR(bin_result_doc,
"bin_result(call_id, value) -> bytes\n\n"
"The message with the result of a call whose value is a bin.");

static PyObject *
bin_result(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    unsigned char head[2 + 9 + 5 + 5] = {ARRAY_OF_5, RESULT}, inner[5], *to = head + 2;

    if (nargs != 2 || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "bin_result(int, bytes)");
        return NULL;
    }
    unsigned long long call_id = PyLong_AsUnsignedLongLong(args[0]);
    if (call_id == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    Py_ssize_t size = PyBytes_GET_SIZE(args[1]), inner_size = put_bin(inner, size) - inner;
    if (size > 0xFFFFFFFF - inner_size) {
        PyErr_SetString(PyExc_ValueError, "the value is too long");
        return NULL;
    }
    if (call_id < 0x80)
        *to++ = (unsigned char)call_id;
    else if (call_id <= 0xFF)
        to = put(to, 0xCC, call_id, 1);
    else if (call_id <= 0xFFFF)
        to = put(to, 0xCD, call_id, 2);
    else
        to = call_id <= 0xFFFFFFFF ? put(to, 0xCE, call_id, 4) : put(to, 0xCF, call_id, 8);
    to = put_bin(to, inner_size + size);
    memcpy(to, inner, inner_size);
    to += inner_size;
    PyObject *message = PyBytes_FromStringAndSize(NULL, to - head + size + sizeof(SUCCESS_END));
    if (message != NULL) {
        char *out = PyBytes_AS_STRING(message);
        memcpy(out, head, to - head);
        memcpy(out + (to - head), PyBytes_AS_STRING(args[1]), size);
        memcpy(out + (to - head) + size, SUCCESS_END, sizeof(SUCCESS_END));
    }
    return message;
}

static PyMethodDef methods[] = {
    {"bin_result", (PyCFunction)(void (*)(void))bin_result, METH_FASTCALL, bin_result_doc},
    {"decode_common", (PyCFunction)(void (*)(void))decode_common, METH_FASTCALL, decode_common_doc},
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
