/* Read and write the lines of heads and trailers (RFC 9112 sections 2.2 and 5).

   The same as pagent.http1.lines, for blocks and fields without a fault. Both functions return None for any other, and
   pagent.http1.lines reports the fault. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

/* Whether a byte is a character of a token (RFC 9110 5.6.2). */
static unsigned char IS_TCHAR[256];

/* Return whether bytes are HTAB, SP, VCHAR or obs-text (RFC 9110 5.5). */
static int
is_text(const unsigned char *p, Py_ssize_t size)
{
    unsigned char bad = 0;

    for (Py_ssize_t i = 0; i < size; i++)
        bad |= (unsigned char)((p[i] < 0x20 && p[i] != '\t') | (p[i] == 0x7F));
    return !bad;
}

static Py_ssize_t
token_length(const unsigned char *p, const unsigned char *end)
{
    const unsigned char *at = p;

    while (at < end && IS_TCHAR[*at])
        at++;
    return at - p;
}

/* Leave out blanks at both ends. */
static void
strip(const unsigned char **p, Py_ssize_t *size)
{
    while (*size && ((*p)[*size - 1] == ' ' || (*p)[*size - 1] == '\t'))
        --*size;
    while (*size && (**p == ' ' || **p == '\t')) {
        ++*p;
        --*size;
    }
}

/* Return text of ASCII; NULL without an exception if the bytes are not ASCII. */
static PyObject *
ascii_of(const unsigned char *p, Py_ssize_t size)
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

/* Return text; bytes that are not UTF-8 become lone surrogates. */
static PyObject *
decoded(const unsigned char *p, Py_ssize_t size)
{
    PyObject *text = ascii_of(p, size);

    return text != NULL || PyErr_Occurred() ? text : PyUnicode_DecodeUTF8((const char *)p, size, "surrogateescape");
}

/* Return [name, value] of a field line; NULL without an exception if it is not valid. */
static PyObject *
field_of(const unsigned char *p, const unsigned char *end)
{
    Py_ssize_t length = token_length(p, end);

    if (length == 0 || p + length == end || p[length] != ':')
        return NULL;
    const unsigned char *value = p + length + 1;
    Py_ssize_t size = end - value;
    strip(&value, &size);
    PyObject *pair = PyList_New(2);
    if (pair == NULL)
        return NULL;
    PyList_SET_ITEM(pair, 0, ascii_of(p, length));
    PyList_SET_ITEM(pair, 1, decoded(value, size));
    if (PyList_GET_ITEM(pair, 0) == NULL || PyList_GET_ITEM(pair, 1) == NULL)
        Py_CLEAR(pair);
    return pair;
}

PyDoc_STRVAR(read_lines_doc,
"read_lines(block) -> (first line, [[name, value], ...]) | None\n\n"
"None if the block is not valid.");

static PyObject *
read_lines(PyObject *module, PyObject *block)
{
    if (!PyBytes_Check(block)) {
        PyErr_SetString(PyExc_TypeError, "read_lines(bytes)");
        return NULL;
    }
    const unsigned char *p = (const unsigned char *)PyBytes_AS_STRING(block);
    const unsigned char *end = p + PyBytes_GET_SIZE(block);
    PyObject *first = NULL, *fields = PyList_New(0), *found = NULL;

    if (fields == NULL)
        return NULL;
    for (;;) {
        const unsigned char *stop = memchr(p, '\r', end - p);
        int last = stop == NULL;
        if (last)
            stop = end;
        else if (stop + 1 == end || stop[1] != '\n')
            goto done;
        if (!is_text(p, stop - p))
            goto done;
        PyObject *line = first == NULL ? decoded(p, stop - p) : field_of(p, stop);
        if (line == NULL)
            goto done;
        if (first == NULL)
            first = line;
        else {
            int failed = PyList_Append(fields, line);
            Py_DECREF(line);
            if (failed)
                goto done;
        }
        if (last)
            break;
        p = stop + 2;
    }
    found = PyTuple_Pack(2, first, fields);
done:
    Py_XDECREF(first);
    Py_DECREF(fields);
    if (found == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return found;
}

/* Return where the bytes of a text end that are written at ``to``, which has room; NULL, maybe with an exception, if the
   text has a control character, or a lone surrogate that stands for no byte. */
static unsigned char *
write_text(unsigned char *to, PyObject *text, int stripped)
{
    PyObject *encoded = NULL;
    const unsigned char *p;
    Py_ssize_t size;

    if (PyBytes_Check(text)) {
        p = (const unsigned char *)PyBytes_AS_STRING(text);
        size = PyBytes_GET_SIZE(text);
    }
    else if (PyUnicode_IS_COMPACT_ASCII(text)) {
        p = PyUnicode_1BYTE_DATA(text);
        size = PyUnicode_GET_LENGTH(text);
    }
    else {
        encoded = PyUnicode_AsEncodedString(text, "utf-8", "surrogateescape");
        if (encoded == NULL) {
            if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
                PyErr_Clear();
            return NULL;
        }
        p = (const unsigned char *)PyBytes_AS_STRING(encoded);
        size = PyBytes_GET_SIZE(encoded);
    }
    if (stripped)
        strip(&p, &size);
    if (is_text(p, size)) {
        memcpy(to, p, size);
        to += size;
    }
    else
        to = NULL;
    Py_XDECREF(encoded);
    return to;
}

/* Return the most bytes that a text can be encoded as. */
static Py_ssize_t
room_for(PyObject *text)
{
    if (PyBytes_Check(text))
        return PyBytes_GET_SIZE(text);
    return PyUnicode_IS_COMPACT_ASCII(text) ? PyUnicode_GET_LENGTH(text) : 4 * PyUnicode_GET_LENGTH(text);
}

/* Set the name and the value of a field, borrowed; return 0 if it is no pair of strings. The value may be bytes. */
static int
pair_of(PyObject *pair, PyObject **name, PyObject **value)
{
    if (!(PyList_Check(pair) || PyTuple_Check(pair)) || PySequence_Fast_GET_SIZE(pair) != 2)
        return 0;
    *name = PySequence_Fast_GET_ITEM(pair, 0);
    *value = PySequence_Fast_GET_ITEM(pair, 1);
    return PyUnicode_Check(*name) && (PyUnicode_Check(*value) || PyBytes_Check(*value));
}

static unsigned char *
write_field(unsigned char *to, PyObject *name, PyObject *value)
{
    unsigned char *from = to;

    to = write_text(to, name, 0);
    if (to == NULL || to == from || token_length(from, to) != to - from)
        return NULL;
    *to++ = ':';
    *to++ = ' ';
    to = write_text(to, value, 1);
    if (to != NULL) {
        *to++ = '\r';
        *to++ = '\n';
    }
    return to;
}

PyDoc_STRVAR(write_lines_doc,
"write_lines(first line, [(name, value), ...]) -> bytes | None\n\n"
"The lines with a blank line at their end. None if they cannot be written.");

static PyObject *
write_lines(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *name, *value;

    if (nargs != 2 || !PyUnicode_Check(args[0]) || !PyList_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "write_lines(str, list)");
        return NULL;
    }
    PyObject *fields = args[1];
    Py_ssize_t count = PyList_GET_SIZE(fields), room = room_for(args[0]) + 4;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!pair_of(PyList_GET_ITEM(fields, i), &name, &value))
            Py_RETURN_NONE;
        room += room_for(name) + room_for(value) + 4;
    }
    PyObject *block = PyBytes_FromStringAndSize(NULL, room);
    if (block == NULL)
        return NULL;
    unsigned char *begin = (unsigned char *)PyBytes_AS_STRING(block), *to = write_text(begin, args[0], 0);
    if (to != NULL) {
        *to++ = '\r';
        *to++ = '\n';
    }
    for (Py_ssize_t i = 0; to != NULL && i < count; i++) {
        pair_of(PyList_GET_ITEM(fields, i), &name, &value);
        to = write_field(to, name, value);
    }
    if (to == NULL) {
        Py_DECREF(block);
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    *to++ = '\r';
    *to++ = '\n';
    if (to - begin != room)
        _PyBytes_Resize(&block, to - begin);
    return block;
}

static PyMethodDef methods[] = {
    {"read_lines", read_lines, METH_O, read_lines_doc},
    {"write_lines", (PyCFunction)(void (*)(void))write_lines, METH_FASTCALL, write_lines_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_lines", "Lines of heads and trailers.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__lines(void)
{
    const char *others = "!#$%&'*+-.^_`|~";

    for (int c = 0; c < 128; c++)
        IS_TCHAR[c] = Py_ISALNUM(c) || (c && strchr(others, c) != NULL);
    return PyModule_Create(&definition);
}
