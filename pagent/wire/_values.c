/* Pack and unpack common values: strings, bytes, integers, nil, booleans, and containers of these.

   The results are those of msgpack. It packs and unpacks every other value, and reports faults. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* Nested containers that are packed and unpacked here. */
#define DEPTH_MAX 8

/* --- packing --- */

struct packed {
    unsigned char *bytes;
    Py_ssize_t size, room;
    unsigned char first[1024]; /* holds most values */
};

/* Return where ``more`` bytes go; NULL if there is no memory. */
static unsigned char *
extend(struct packed *out, Py_ssize_t more)
{
    if (more > out->room - out->size) {
        Py_ssize_t room = 2 * out->room + more;
        int is_first = out->bytes == out->first;
        unsigned char *bytes = PyMem_Realloc(is_first ? NULL : out->bytes, room);
        if (bytes == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        if (is_first)
            memcpy(bytes, out->first, out->size);
        out->bytes = bytes;
        out->room = room;
    }
    out->size += more;
    return out->bytes + out->size - more;
}

/* Add a tag and a big-endian number of the given length in bytes. */
static int
add_number(struct packed *out, int tag, uint64_t value, int bytes)
{
    unsigned char *to = extend(out, 1 + bytes);

    if (to == NULL)
        return -1;
    *to = (unsigned char)tag;
    for (; bytes > 0; value >>= 8)
        to[bytes--] = (unsigned char)value;
    return 1;
}

/* Add the tag and the length of a string, a bin or a container: ``fixed`` is the tag of the short form, for lengths below
   ``below``; ``tag`` is that of two bytes, which the one of four follows; the one of one byte precedes it if there is one. */
static int
add_length(struct packed *out, int fixed, Py_ssize_t below, int tag, int has_8, Py_ssize_t length)
{
    if (length < below)
        return add_number(out, fixed | (int)length, 0, 0);
    if (has_8 && length <= 0xFF)
        return add_number(out, tag - 1, length, 1);
    if (length <= 0xFFFF)
        return add_number(out, tag, length, 2);
    return length <= 0xFFFFFFFF ? add_number(out, tag + 1, length, 4) : 0;
}

static int
add_bytes(struct packed *out, const char *bytes, Py_ssize_t length)
{
    unsigned char *to = extend(out, length);

    if (to == NULL)
        return -1;
    memcpy(to, bytes, length);
    return 1;
}

static int
add_integer(struct packed *out, PyObject *value)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);

    if (overflow || number < 0)
        return 0;
    if (number < 0x80)
        return add_number(out, (int)number, 0, 0);
    if (number <= 0xFF)
        return add_number(out, 0xCC, number, 1);
    if (number <= 0xFFFF)
        return add_number(out, 0xCD, number, 2);
    return number <= 0xFFFFFFFF ? add_number(out, 0xCE, number, 4) : add_number(out, 0xCF, number, 8);
}

static int
add_string(struct packed *out, PyObject *value)
{
    Py_ssize_t length;
    const char *bytes = PyUnicode_AsUTF8AndSize(value, &length);

    if (bytes == NULL) { /* a lone surrogate */
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    int done = add_length(out, 0xA0, 32, 0xDA, 1, length);
    return done == 1 ? add_bytes(out, bytes, length) : done;
}

/* Add a value; return 1, 0 if msgpack has to pack it, or -1 with an exception. */
static int
add_value(struct packed *out, PyObject *value, int depth)
{
    int done;

    if (PyUnicode_CheckExact(value))
        return add_string(out, value);
    if (value == Py_None)
        return add_number(out, 0xC0, 0, 0);
    if (PyBool_Check(value))
        return add_number(out, value == Py_True ? 0xC3 : 0xC2, 0, 0);
    if (PyLong_CheckExact(value))
        return add_integer(out, value);
    if (PyBytes_CheckExact(value)) {
        done = add_length(out, 0, 0, 0xC5, 1, PyBytes_GET_SIZE(value));
        return done == 1 ? add_bytes(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)) : done;
    }
    if (depth == DEPTH_MAX)
        return 0;
    if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) {
        Py_ssize_t length = PySequence_Fast_GET_SIZE(value);
        done = add_length(out, 0x90, 16, 0xDC, 0, length);
        for (Py_ssize_t i = 0; done == 1 && i < length; i++)
            done = add_value(out, PySequence_Fast_GET_ITEM(value, i), depth + 1);
        return done;
    }
    if (PyDict_CheckExact(value)) {
        Py_ssize_t place = 0;
        PyObject *key, *item;
        done = add_length(out, 0x80, 16, 0xDE, 0, PyDict_GET_SIZE(value));
        while (done == 1 && PyDict_Next(value, &place, &key, &item)) {
            done = add_value(out, key, depth + 1);
            if (done == 1)
                done = add_value(out, item, depth + 1);
        }
        return done;
    }
    return 0;
}

PyDoc_STRVAR(pack_common_doc,
"pack_common(value) -> bytes | None\n\n"
"None for a value that msgpack has to pack.");

static PyObject *
pack_common(PyObject *module, PyObject *value)
{
    struct packed out;
    PyObject *bytes = NULL;

    out.bytes = out.first;
    out.size = 0;
    out.room = sizeof(out.first);
    int done = add_value(&out, value, 0);
    if (done == 1)
        bytes = PyBytes_FromStringAndSize((const char *)out.bytes, out.size);
    if (out.bytes != out.first)
        PyMem_Free(out.bytes);
    if (done == 0)
        Py_RETURN_NONE;
    return bytes;
}

/* --- unpacking --- */

struct input {
    const unsigned char *p, *end;
    Py_ssize_t left; /* elements that containers may still have */
    int lists;       /* whether arrays become lists */
};

static PyObject *value_of(struct input *in, int depth);

/* Read a big-endian number of the given length in bytes; return whether there is one. */
static int
read_number(struct input *in, int bytes, uint64_t *value)
{
    if (in->end - in->p < bytes)
        return 0;
    for (*value = 0; bytes > 0; bytes--)
        *value = *value << 8 | *in->p++;
    return 1;
}

/* Read a length that is a number of the given bytes; return -1 without one. */
static Py_ssize_t
read_length(struct input *in, int bytes)
{
    uint64_t length;

    return read_number(in, bytes, &length) ? (Py_ssize_t)length : -1;
}

static PyObject *
integer_of(struct input *in, int bytes)
{
    uint64_t value;

    return read_number(in, bytes, &value) ? PyLong_FromUnsignedLongLong(value) : NULL;
}

/* Return text of ASCII; NULL without an exception if the bytes are not ASCII. */
static PyObject *
ascii_of(const char *p, Py_ssize_t size)
{
    unsigned char all = 0;

    for (Py_ssize_t i = 0; i < size; i++)
        all |= (unsigned char)p[i];
    if (all & 0x80)
        return NULL;
    PyObject *text = PyUnicode_New(size, 0x7F);
    if (text != NULL)
        memcpy(PyUnicode_1BYTE_DATA(text), p, size);
    return text;
}

static PyObject *
string_of(struct input *in, Py_ssize_t length, int is_text)
{
    const char *from = (const char *)in->p;

    if (length < 0 || length > in->end - in->p)
        return NULL;
    in->p += length;
    if (!is_text)
        return PyBytes_FromStringAndSize(from, length);
    PyObject *text = ascii_of(from, length);
    return text != NULL || PyErr_Occurred() ? text : PyUnicode_DecodeUTF8(from, length, "strict");
}

/* Count the elements of a container; return whether it may have them. Each has at least one byte. */
static int
counted(struct input *in, Py_ssize_t length, int depth)
{
    if (length < 0 || length > in->left || length > in->end - in->p || depth == DEPTH_MAX)
        return 0;
    in->left -= length;
    return 1;
}

static PyObject *
array_of(struct input *in, Py_ssize_t length, int depth)
{
    if (!counted(in, length, depth))
        return NULL;
    PyObject *array = in->lists ? PyList_New(length) : PyTuple_New(length);
    for (Py_ssize_t i = 0; array != NULL && i < length; i++) {
        PyObject *item = value_of(in, depth + 1);
        if (item == NULL)
            Py_CLEAR(array);
        else if (in->lists)
            PyList_SET_ITEM(array, i, item);
        else
            PyTuple_SET_ITEM(array, i, item);
    }
    return array;
}

static PyObject *
map_of(struct input *in, Py_ssize_t length, int depth)
{
    if (!counted(in, length, depth))
        return NULL;
    PyObject *map = PyDict_New();
    while (map != NULL && length-- > 0) {
        PyObject *key = value_of(in, depth + 1), *item = NULL;
        if (key != NULL && PyUnicode_CheckExact(key))
            PyUnicode_InternInPlace(&key); /* keyword arguments are found by their identity */
        if (key != NULL)
            item = value_of(in, depth + 1);
        if (item == NULL || PyDict_SetItem(map, key, item) < 0)
            Py_CLEAR(map);
        Py_XDECREF(key);
        Py_XDECREF(item);
    }
    return map;
}

/* Return the next value; NULL, maybe with an exception, if msgpack has to unpack it. */
static PyObject *
value_of(struct input *in, int depth)
{
    if (in->p == in->end)
        return NULL;
    int tag = *in->p++;
    if (tag < 0x80)
        return PyLong_FromLong(tag);
    if (tag < 0x90)
        return map_of(in, tag & 0x0F, depth);
    if (tag < 0xA0)
        return array_of(in, tag & 0x0F, depth);
    if (tag < 0xC0)
        return string_of(in, tag & 0x1F, 1);
    switch (tag) {
    case 0xC0: Py_RETURN_NONE;
    case 0xC2: Py_RETURN_FALSE;
    case 0xC3: Py_RETURN_TRUE;
    case 0xC4: return string_of(in, read_length(in, 1), 0);
    case 0xC5: return string_of(in, read_length(in, 2), 0);
    case 0xC6: return string_of(in, read_length(in, 4), 0);
    case 0xCC: return integer_of(in, 1);
    case 0xCD: return integer_of(in, 2);
    case 0xCE: return integer_of(in, 4);
    case 0xCF: return integer_of(in, 8);
    case 0xD9: return string_of(in, read_length(in, 1), 1);
    case 0xDA: return string_of(in, read_length(in, 2), 1);
    case 0xDB: return string_of(in, read_length(in, 4), 1);
    case 0xDC: return array_of(in, read_length(in, 2), depth);
    case 0xDD: return array_of(in, read_length(in, 4), depth);
    case 0xDE: return map_of(in, read_length(in, 2), depth);
    case 0xDF: return map_of(in, read_length(in, 4), depth);
    default: return NULL;
    }
}

PyDoc_STRVAR(unpack_common_doc,
"unpack_common(data, most, use_list) -> value | NotImplemented\n\n"
"NotImplemented for data that msgpack has to unpack, also if all containers together have more than most elements.");

static PyObject *
unpack_common(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    struct input in;
    Py_buffer buffer;

    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "unpack_common(data, most, use_list)");
        return NULL;
    }
    in.left = PyLong_AsSsize_t(args[1]);
    in.lists = PyObject_IsTrue(args[2]);
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0)
        return NULL;
    in.p = buffer.buf;
    in.end = in.p + buffer.len;
    PyObject *value = value_of(&in, 0);
    if (value != NULL && in.p != in.end)
        Py_CLEAR(value); /* bytes after the value */
    PyBuffer_Release(&buffer);
    if (value != NULL)
        return value;
    if (PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_MemoryError))
            return NULL;
        PyErr_Clear(); /* text that is not UTF-8, or a key that cannot be hashed */
    }
    Py_RETURN_NOTIMPLEMENTED;
}

static PyMethodDef methods[] = {
    {"pack_common", pack_common, METH_O, pack_common_doc},
    {"unpack_common", (PyCFunction)(void (*)(void))unpack_common, METH_FASTCALL, unpack_common_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_values", "Common values in msgpack.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__values(void)
{
    return PyModule_Create(&definition);
}
