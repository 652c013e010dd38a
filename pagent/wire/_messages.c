/* The messages that nearly all of a link consists of, taken apart (spec prpc.md, "Messages").

   pagent.wire.messages does the same for every message that there is, and says what is wrong with one; this is for
   stream messages with a bin, in the forms that encoders choose. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#define ARRAY_OF_3 0x93
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

/* Where the bin begins that fills the message to its end, and the call id; 0 if it is another message. */
static Py_ssize_t
bin_of(const unsigned char *p, Py_ssize_t length, uint64_t *call_id)
{
    Py_ssize_t at = 3;
    int bytes;

    if (length < 5 || p[0] != ARRAY_OF_3 || (p[1] != REQUEST_MESSAGE && p[1] != RESPONSE_MESSAGE))
        return 0;
    if (p[2] < 0x80)
        *call_id = p[2];
    else if (p[2] >= 0xCC && p[2] <= 0xCF) {
        bytes = 1 << (p[2] - 0xCC);
        if (length < at + bytes)
            return 0;
        *call_id = number(p + at, bytes);
        at += bytes;
    }
    else
        return 0;
    if (length < at + 1 || p[at] < 0xC4 || p[at] > 0xC6)
        return 0;
    bytes = 1 << (p[at++] - 0xC4);
    if (length < at + bytes || number(p + at, bytes) != (uint64_t)(length - at - bytes))
        return 0;
    return at + bytes;
}

PyDoc_STRVAR(stream_message_doc,
"stream_message(payload, copied) -> (kind, call id, value) | None\n\n"
"The value is bytes if payload has no more than copied bytes, else a memoryview of it; None for any other message.");

static PyObject *
stream_message(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer buffer;
    uint64_t call_id;
    PyObject *value;

    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "stream_message(payload, copied)");
        return NULL;
    }
    Py_ssize_t copied = PyLong_AsSsize_t(args[1]);
    if (copied == -1 && PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    const unsigned char *data = buffer.buf;
    Py_ssize_t at = bin_of(data, buffer.len, &call_id);
    if (!at) {
        PyBuffer_Release(&buffer);
        Py_RETURN_NONE;
    }
    long kind = data[1];
    if (buffer.len <= copied)
        value = PyBytes_FromStringAndSize((const char *)data + at, buffer.len - at);
    else {
        PyObject *view = PyMemoryView_FromObject(args[0]);
        value = view ? PySequence_GetSlice(view, at, buffer.len) : NULL;
        Py_XDECREF(view);
    }
    PyBuffer_Release(&buffer);
    return value ? Py_BuildValue("(lKN)", kind, (unsigned long long)call_id, value) : NULL;
}

static PyMethodDef methods[] = {
    {"stream_message", (PyCFunction)(void (*)(void))stream_message, METH_FASTCALL, stream_message_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_messages", "Stream messages with a bin.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__messages(void)
{
    return PyModule_Create(&definition);
}
