/* Read and write the lines of heads and trailers (RFC 9112 sections 2.2 and 5).

   The same as pagent.http1.lines, for blocks and fields without a fault. All functions return None for any other, and
   pagent.http1.lines reports the fault. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* Classes of bytes: of a token (RFC 9110 5.6.2), and of a value (5.5): HTAB, SP, VCHAR and obs-text. */
#define TOKEN 1
#define TEXT 2

/* Of a kind: the line is left out. */
#define LEFT_OUT 0x100

/* Names of fields that are looked up; longer ones are not watched. */
#define LOOKED_UP_MAX 64

static unsigned char CLASS[256];

/* Return whether one of eight bytes is a control, HTAB included. */
static int
has_control(const unsigned char *p)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t word, flipped;

    memcpy(&word, p, sizeof(word));
    flipped = word ^ ones * 0x7F;
    return (((word - ones * 0x20) & ~word) | ((flipped - ones) & ~flipped)) & ones * 0x80 ? 1 : 0;
}

/* Return whether bytes are HTAB, SP, VCHAR or obs-text (RFC 9110 5.5). */
static int
is_text(const unsigned char *p, Py_ssize_t size)
{
    for (; size >= 8 && !has_control(p); size -= 8)
        p += 8;
    while (size && CLASS[*p] & TEXT) {
        p++;
        size--;
    }
    return !size;
}

/* Return where a line ends: at its CR, or at the end of the block. */
static const unsigned char *
end_of_line(const unsigned char *p, const unsigned char *end)
{
    const unsigned char *stop = memchr(p, '\r', end - p);

    return stop == NULL ? end : stop;
}

static Py_ssize_t
token_length(const unsigned char *p, const unsigned char *end)
{
    const unsigned char *at = p;

    while (at < end && CLASS[*at] & TOKEN)
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
        const unsigned char *stop = end_of_line(p, end);
        int last = stop == end;
        if (!last && stop[1] != '\n')
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

/* --- the lines that something is read from --- */

/* Return the kind of a watched line, 0 for one that is not watched, or -1 with an exception. */
static long
kind_of(PyObject *watched, const unsigned char *name, Py_ssize_t size)
{
    PyObject *kinds = PyTuple_GET_ITEM(watched, 1), *other = PyTuple_GET_ITEM(watched, 2), *found;
    long kind = 0;

    if (size <= LOOKED_UP_MAX) {
        PyObject *key = PyBytes_FromStringAndSize(NULL, size);
        if (key == NULL)
            return -1;
        unsigned char *lower = (unsigned char *)PyBytes_AS_STRING(key);
        for (Py_ssize_t i = 0; i < size; i++)
            lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i];
        found = PyDict_GetItemWithError(kinds, key);
        Py_DECREF(key);
        if (found != NULL)
            return PyLong_AsLong(found);
        if (PyErr_Occurred())
            return -1;
    }
    if (other == Py_None)
        return 0;
    PyObject *text = ascii_of(name, size);
    if (text == NULL)
        return -1;
    found = PyObject_CallOneArg(other, text);
    Py_DECREF(text);
    if (found == NULL)
        return -1;
    kind = PyLong_AsLong(found);
    Py_DECREF(found);
    return kind;
}

/* Add (kind, name, value) to a list. */
static int
add_found(PyObject *list, long kind, const unsigned char *name, Py_ssize_t length, const unsigned char *end)
{
    const unsigned char *value = name + length + 1;
    Py_ssize_t size = end - value;
    PyObject *place = PyTuple_New(3);

    if (place == NULL)
        return -1;
    strip(&value, &size);
    PyTuple_SET_ITEM(place, 0, PyLong_FromLong(kind));
    PyTuple_SET_ITEM(place, 1, ascii_of(name, length));
    PyTuple_SET_ITEM(place, 2, decoded(value, size));
    int failed = !PyTuple_GET_ITEM(place, 0) || !PyTuple_GET_ITEM(place, 1) || !PyTuple_GET_ITEM(place, 2)
        || PyList_Append(list, place) < 0;
    Py_DECREF(place);
    return failed ? -1 : 0;
}

PyDoc_STRVAR(scan_doc,
"scan(block, has_start, watched) -> (first line, number of fields, kept lines, [(kind, name, value), ...]) | None\n\n"
"None if the block is not valid.");

static PyObject *
scan(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3 || !PyBytes_Check(args[0]) || !PyBool_Check(args[1]) || !PyTuple_Check(args[2])
        || PyTuple_GET_SIZE(args[2]) != 3 || !PyBytes_Check(PyTuple_GET_ITEM(args[2], 0))
        || PyBytes_GET_SIZE(PyTuple_GET_ITEM(args[2], 0)) != 1024 || !PyDict_Check(PyTuple_GET_ITEM(args[2], 1))) {
        PyErr_SetString(PyExc_TypeError, "scan(bytes, bool, (table of 1024 bytes, dict, function or None))");
        return NULL;
    }
    /* A zero is after the end of the bytes, and of no class. */
    const unsigned char *p = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    const unsigned char *end = p + PyBytes_GET_SIZE(args[0]), *from = p;
    const char *slots = PyBytes_AS_STRING(PyTuple_GET_ITEM(args[2], 0));
    int has_start = args[1] == Py_True;
    Py_ssize_t fields = 0;
    PyObject *first = NULL, *kept = NULL, *found = PyList_New(0), *all = NULL;

    if (found == NULL)
        return NULL;
    if (has_start)
        p = end_of_line(p, end);
    if (!is_text(from, p - from))
        goto done;
    first = decoded(from, p - from);
    kept = PyBytes_FromStringAndSize(NULL, end - p + 2);
    if (first == NULL || kept == NULL)
        goto done;
    unsigned char *to = (unsigned char *)PyBytes_AS_STRING(kept);
    if (has_start && p != end) {
        if (p[1] != '\n')
            goto done;
        p += 2;
        if (p == end)
            goto done;
    }
    from = p; /* of the lines that are kept, but not copied yet */
    while (p < end) {
        const unsigned char *name = p;
        while (CLASS[*p] & TOKEN)
            p++;
        Py_ssize_t length = p - name;
        if (length == 0 || *p++ != ':')
            goto done;
        const unsigned char *stop = end_of_line(p, end);
        if (!is_text(p, stop - p))
            goto done;
        p = stop;
        if (stop != end) {
            p += 2;
            if (stop[1] != '\n' || (has_start && p == end))
                goto done;
        }
        else if (!has_start)
            goto done;
        fields++;
        if (!slots[(length & 31) << 5 | (*name & 31)])
            continue;
        long kind = kind_of(args[2], name, length);
        if (kind < 0)
            goto done;
        if (kind & ~LEFT_OUT && add_found(found, kind & ~LEFT_OUT, name, length, stop) < 0)
            goto done;
        if (kind & LEFT_OUT) {
            memcpy(to, from, name - from);
            to += name - from;
            from = p;
        }
    }
    memcpy(to, from, end - from);
    to += end - from;
    if (has_start && from != end) {
        *to++ = '\r';
        *to++ = '\n';
    }
    if (_PyBytes_Resize(&kept, to - (unsigned char *)PyBytes_AS_STRING(kept)) < 0)
        goto done;
    all = PyTuple_New(4);
    if (all != NULL) {
        PyTuple_SET_ITEM(all, 0, first);
        PyTuple_SET_ITEM(all, 1, PyLong_FromSsize_t(fields));
        PyTuple_SET_ITEM(all, 2, kept);
        PyTuple_SET_ITEM(all, 3, found);
        if (PyTuple_GET_ITEM(all, 1) == NULL)
            Py_CLEAR(all);
        return all;
    }
done:
    Py_XDECREF(first);
    Py_XDECREF(kept);
    Py_DECREF(found);
    if (!PyErr_Occurred())
        Py_RETURN_NONE;
    return NULL;
}

PyDoc_STRVAR(find_blank_line_doc,
"find_blank_line(data, at) -> offset of CRLF CRLF, or -1");

static PyObject *
find_blank_line(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t at;

    if (nargs != 2 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "find_blank_line(bytes, int)");
        return NULL;
    }
    at = PyLong_AsSsize_t(args[1]);
    if (at < 0 || at > PyBytes_GET_SIZE(args[0]))
        return PyErr_Occurred() ? NULL : PyLong_FromLong(-1);
    const unsigned char *begin = (const unsigned char *)PyBytes_AS_STRING(args[0]), *p = begin + at;
    const unsigned char *end = begin + PyBytes_GET_SIZE(args[0]);
    while ((p = end_of_line(p, end)) != end) {
        if (end - p >= 4 && memcmp(p, "\r\n\r\n", 4) == 0)
            return PyLong_FromSsize_t(p - begin);
        p++;
    }
    return PyLong_FromLong(-1);
}

/* --- writing --- */

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
    {"find_blank_line", (PyCFunction)(void (*)(void))find_blank_line, METH_FASTCALL, find_blank_line_doc},
    {"read_lines", read_lines, METH_O, read_lines_doc},
    {"scan", (PyCFunction)(void (*)(void))scan, METH_FASTCALL, scan_doc},
    {"write_lines", (PyCFunction)(void (*)(void))write_lines, METH_FASTCALL, write_lines_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_lines", "Lines of heads and trailers.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__lines(void)
{
    for (int c = 0; c < 256; c++) {
        int token = c < 128 && c && (Py_ISALNUM(c) || strchr("!#$%&'*+-.^_`|~", c));
        int text = c == '\t' || (c >= ' ' && c != 0x7F);
        CLASS[c] = (unsigned char)((token ? TOKEN : 0) | (text ? TEXT : 0));
    }
    return PyModule_Create(&definition);
}
