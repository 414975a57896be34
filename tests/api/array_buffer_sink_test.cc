#include "warren/array_buffer_sink.h"

#include <cerrno>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"

namespace {

using warren::ArrayBufferSink;
using warren::asBytes;
using warren::asText;
using warren::Bytes;
using warren::Flushed;
using warren::Result;
using warren::Usage;

std::string textOf(const Flushed& flushed) { return std::string(asText(flushed.bytes())); }

std::string textOf(const ArrayBufferSink& sink) {
  std::string text;
  for (const Bytes part : sink.readable()) text += asText(part);
  return text;
}

void requireNoMemory(const warren::Error& error) {
  REQUIRE(error.isErrno(ENOMEM));
  REQUIRE(error.step() == warren::Step::write);
}

void requireEnded(ArrayBufferSink& sink) {
  REQUIRE(sink.write("lost?").error().is(Usage::ended));
  REQUIRE(sink.write(Bytes()).error().is(Usage::ended));
  REQUIRE(sink.flush().count() == 0);
  REQUIRE(sink.flush().size() == 0);
  REQUIRE(sink.end().count() == 0);
  REQUIRE(sink.end().size() == 0);
  sink.consume(SIZE_MAX);
  REQUIRE(textOf(sink).empty());
  REQUIRE(sink.empty());
  REQUIRE(sink.capacity() == 0);
}

}  // namespace

TEST_CASE("without stream, flush counts what came since the last one and end gives all bytes") {
  ArrayBufferSink sink;
  sink.start().value();
  REQUIRE(*sink.write("abc") == 3);
  REQUIRE(*sink.write("de") == 2);
  const Flushed first = sink.flush();
  REQUIRE(first.count() == 5);
  REQUIRE(first.size() == 0);
  REQUIRE(*sink.write("f") == 1);
  REQUIRE(sink.flush().count() == 1);
  REQUIRE(sink.flush().count() == 0);
  const Flushed rest = sink.end();
  REQUIRE(rest.count() == 0);
  REQUIRE(textOf(rest) == "abcdef");
}

TEST_CASE("with stream, flush hands over what came since the last one") {
  ArrayBufferSink sink;
  sink.start({.stream = true}).value();
  REQUIRE(*sink.write("abc") == 3);
  REQUIRE(textOf(sink.flush()) == "abc");
  REQUIRE(*sink.write("de") == 2);
  REQUIRE(*sink.write("f") == 1);
  const Flushed second = sink.flush();
  REQUIRE(second.count() == 3);
  REQUIRE(textOf(second) == "def");
  const Flushed nothing = sink.flush();
  REQUIRE(nothing.count() == 0);
  REQUIRE(nothing.bytes().empty());
  REQUIRE(*sink.write("g") == 1);
  REQUIRE(textOf(sink.end()) == "g");
}

TEST_CASE("asUint8Array changes nothing about the bytes") {
  ArrayBufferSink sink;
  sink.start({.asUint8Array = true}).value();
  REQUIRE(*sink.write("abc") == 3);
  REQUIRE(sink.flush().count() == 3);
  REQUIRE(*sink.write("d") == 1);
  REQUIRE(textOf(sink.end()) == "abcd");
}

TEST_CASE("a new sink takes writes without a start") {
  ArrayBufferSink sink;
  REQUIRE(*sink.write("abc") == 3);
  REQUIRE(sink.size() == 3);
  REQUIRE_FALSE(sink.empty());
  REQUIRE(textOf(sink) == "abc");
  REQUIRE(textOf(sink.end()) == "abc");
}

TEST_CASE("write gives the number of bytes for every kind of input") {
  ArrayBufferSink sink;
  sink.start({.stream = true}).value();
  const std::vector<std::byte> three(3);
  const uint8_t eight[8] = {};
  const uint16_t shorts[2] = {};
  REQUIRE(*sink.write("hello") == 5);
  REQUIRE(*sink.write("") == 0);
  REQUIRE(*sink.write("h\xc3\xa9llo") == 6);
  REQUIRE(*sink.write(std::string("\xe2\x82\xac")) == 3);
  REQUIRE(*sink.write(std::string_view("\xf0\x9f\x98\x80")) == 4);
  REQUIRE(*sink.write(three) == 3);
  REQUIRE(*sink.write(Bytes()) == 0);
  REQUIRE(*sink.write(std::as_bytes(std::span(eight))) == 8);
  REQUIRE(*sink.write(std::as_bytes(std::span(eight)).subspan(3, 2)) == 2);
  REQUIRE(*sink.write(std::as_bytes(std::span(shorts))) == 4);
  const Flushed flushed = sink.flush();
  REQUIRE(flushed.count() == 35);
  REQUIRE(textOf(flushed) ==
          "helloh\xc3\xa9llo\xe2\x82\xac\xf0\x9f\x98\x80" + std::string(17, '\0'));
}

TEST_CASE("text is stored as it is in memory, zero bytes and broken encodings too") {
  using namespace std::string_view_literals;
  ArrayBufferSink sink;
  sink.start({.asUint8Array = true, .stream = true}).value();
  for (const std::string_view text :
       {"\xc3\xa9"sv, "\xe6\x97\xa5\xe6\x9c\xac"sv, "\xed\xa0\xbd"sv, "a\xff\x62"sv, "\0"sv}) {
    REQUIRE(*sink.write(text) == text.size());
    REQUIRE(textOf(sink.flush()) == text);
  }
  REQUIRE(*sink.write("\xe6\x97") == 2);
  REQUIRE(*sink.write("\xa5") == 1);
  REQUIRE(textOf(sink.flush()) == "\xe6\x97\xa5");
}

TEST_CASE("highWaterMark makes room and limits nothing") {
  ArrayBufferSink sink;
  for (const size_t highWaterMark : {1u, 16u, 1024u, 0u}) {
    sink.start({.stream = true, .highWaterMark = highWaterMark}).value();
    REQUIRE(sink.capacity() >= highWaterMark);
    REQUIRE(*sink.write(std::string(100, 'a')) == 100);
    REQUIRE(*sink.write(std::string(5000, 'b')) == 5000);
    REQUIRE(textOf(sink.flush()) == std::string(100, 'a') + std::string(5000, 'b'));
  }
  sink.start({.asUint8Array = true, .stream = true, .highWaterMark = 1024}).value();
  REQUIRE(*sink.write(std::string(10, 'c')) == 10);
  REQUIRE(sink.flush().size() == 10);
}

TEST_CASE("flushed bytes stay as they were when the sink goes on, starts again and dies") {
  Flushed a, b, c;
  {
    ArrayBufferSink sink;
    sink.start({.asUint8Array = true, .stream = true, .highWaterMark = 64}).value();
    REQUIRE(*sink.write("AAAA") == 4);
    a = sink.flush();
    REQUIRE(*sink.write("BBBB") == 4);
    b = sink.flush();
    REQUIRE(a.bytes().data() != b.bytes().data());
    REQUIRE(*sink.write("DDDD") == 4);
    REQUIRE(textOf(sink.flush()) == "DDDD");
    REQUIRE(*sink.write("CCCC") == 4);
    c = sink.end();
    sink.start().value();
    REQUIRE(*sink.write(std::string(4096, 'x')) == 4096);
  }
  REQUIRE(textOf(a) == "AAAA");
  REQUIRE(textOf(b) == "BBBB");
  REQUIRE(textOf(c) == "CCCC");
}

TEST_CASE("a flushed value can be sliced, and is empty once it was moved from") {
  ArrayBufferSink sink;
  sink.start({.stream = true}).value();
  REQUIRE(*sink.write("hello") == 5);
  Flushed flushed = sink.flush();
  REQUIRE(asText(flushed.subspan(0)) == "hello");
  REQUIRE(asText(flushed.subspan(3)) == "lo");
  REQUIRE(flushed.subspan(5).empty());
  REQUIRE(flushed.subspan(SIZE_MAX).empty());
  REQUIRE(*sink.write(flushed) == 5);  // as Bytes

  const Flushed moved = std::move(flushed);
  REQUIRE(textOf(moved) == "hello");
  REQUIRE(flushed.size() == 0);
  REQUIRE(flushed.bytes().empty());
  REQUIRE(flushed.subspan(3).empty());
}

TEST_CASE("after end a sink refuses writes, gives nothing and keeps no memory, until start") {
  for (const bool stream : {false, true}) {
    ArrayBufferSink sink;
    sink.start({.stream = stream}).value();
    REQUIRE(*sink.write("abc") == 3);
    const Flushed rest = sink.end();
    REQUIRE(rest.count() == 3);
    REQUIRE(textOf(rest) == "abc");
    requireEnded(sink);
    REQUIRE(sink.write("d").error().message().find("call start()") != std::string::npos);

    sink.start({.stream = true}).value();
    REQUIRE(*sink.write("e") == 1);
    REQUIRE(textOf(sink.flush()) == "e");
  }
}

TEST_CASE("a sink that got nothing ends as well") {
  ArrayBufferSink sink;
  REQUIRE(sink.end().size() == 0);
  requireEnded(sink);
}

TEST_CASE("start drops what is there and the count with it") {
  ArrayBufferSink sink;
  REQUIRE(*sink.write("dropped") == 7);
  sink.start().value();
  REQUIRE(sink.empty());
  REQUIRE(sink.flush().count() == 0);
  REQUIRE(*sink.write("kept") == 4);
  REQUIRE(sink.flush().count() == 4);
  REQUIRE(textOf(sink.end()) == "kept");
}

TEST_CASE("each start decides anew whether flush hands over") {
  ArrayBufferSink sink;
  sink.start({.stream = true}).value();
  sink.start().value();
  REQUIRE(*sink.write("abc") == 3);
  REQUIRE(sink.flush().size() == 0);
  REQUIRE(sink.size() == 3);
}

TEST_CASE("megabytes and many small writes come out whole") {
  ArrayBufferSink sink;
  sink.start({.stream = true, .highWaterMark = 1024}).value();
  REQUIRE(*sink.write(std::string(8 << 20, 'a')) == 8 << 20);
  REQUIRE(*sink.write("b") == 1);
  REQUIRE(textOf(sink.flush()) == std::string(8 << 20, 'a') + "b");
  const size_t capacity = sink.capacity();
  REQUIRE(*sink.write(std::string(2 << 20, 'c')) == 2 << 20);
  REQUIRE(sink.flush().size() == 2 << 20);
  for (int count = 0; count < 100000; ++count) sink.write("x").value();
  REQUIRE(textOf(sink.flush()) == std::string(100000, 'x'));
  REQUIRE(sink.capacity() == capacity);  // the ring was used again
  REQUIRE(sink.end().size() == 0);
  REQUIRE(sink.capacity() == 0);
}

TEST_CASE("a highWaterMark beyond all memory is an error and leaves the sink empty and usable") {
  ArrayBufferSink sink;
  for (const size_t absurd : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 2}) {
    REQUIRE(*sink.write("dropped") == 7);
    requireNoMemory(sink.start({.stream = true, .highWaterMark = absurd}).error());
    REQUIRE(sink.empty());
    REQUIRE(sink.flush().count() == 0);
    REQUIRE(*sink.write("abc") == 3);
    REQUIRE(textOf(sink.end()) == "abc");
    requireNoMemory(sink.start({.highWaterMark = absurd}).error());
  }
}

TEST_CASE("a write beyond all memory is an error with nothing taken") {
  ArrayBufferSink sink;
  REQUIRE(*sink.write("abc") == 3);
  const std::byte one{};
  // Refused by its length alone: nobody reads these bytes.
  requireNoMemory(sink.write(Bytes(&one, PTRDIFF_MAX)).error());
  REQUIRE(sink.flush().count() == 3);
  REQUIRE(textOf(sink.end()) == "abc");
}

TEST_CASE("what consume drops is gone from the bytes but not from the count") {
  ArrayBufferSink sink;
  sink.start({.stream = true}).value();
  REQUIRE(*sink.write("hello") == 5);
  sink.consume(0);
  sink.consume(2);
  REQUIRE(textOf(sink) == "llo");
  const Flushed flushed = sink.flush();
  REQUIRE(flushed.count() == 5);
  REQUIRE(textOf(flushed) == "llo");
  REQUIRE(*sink.write("more") == 4);
  sink.consume(SIZE_MAX);
  REQUIRE(sink.empty());
}

TEST_CASE("bytes that wrap around the end of the ring stay in order") {
  ArrayBufferSink sink;
  sink.start({.stream = true, .highWaterMark = 64}).value();
  const size_t capacity = sink.capacity();
  REQUIRE(*sink.write(std::string(capacity, 'a')) == capacity);
  sink.consume(capacity - 1);
  REQUIRE(*sink.write("wraps") == 5);
  REQUIRE(sink.capacity() == capacity);
  REQUIRE(sink.readable()[1].size() == 5);
  REQUIRE(textOf(sink) == "awraps");

  SECTION("through flush") { REQUIRE(textOf(sink.flush()) == "awraps"); }
  SECTION("through end") { REQUIRE(textOf(sink.end()) == "awraps"); }
  SECTION("through growing") {
    REQUIRE(*sink.write(std::string(capacity, 'b')) == capacity);
    REQUIRE(textOf(sink.flush()) == "awraps" + std::string(capacity, 'b'));
  }
}

TEST_CASE("a sink can be written into itself") {
  ArrayBufferSink sink;
  std::string expected = "0123456789";
  REQUIRE(*sink.write(expected) == 10);
  for (int round = 0; round < 10; ++round) {
    sink.write(sink.readable()[0]).value();
    expected += expected;
  }
  REQUIRE(textOf(sink.end()) == expected);
}

TEST_CASE("a moved sink has everything, and the one moved from is as an ended one") {
  ArrayBufferSink from;
  from.start({.stream = true}).value();
  REQUIRE(*from.write("abc") == 3);

  ArrayBufferSink to = std::move(from);
  requireEnded(from);
  REQUIRE(*to.write("de") == 2);
  const Flushed flushed = to.flush();
  REQUIRE(flushed.count() == 5);
  REQUIRE(textOf(flushed) == "abcde");

  REQUIRE(*to.write("f") == 1);
  from = std::move(to);
  requireEnded(to);
  REQUIRE(textOf(from.end()) == "f");

  to.start().value();
  REQUIRE(*to.write("g") == 1);
  REQUIRE(to.flush().count() == 1);

  ArrayBufferSink& same = to;
  to = std::move(same);
  REQUIRE(textOf(to.end()) == "g");
}

TEST_CASE("any sequence of calls agrees with a plain string") {
  for (const uint32_t seed : {1u, 2u, 3u, 5u, 8u, 13u, 21u, 34u, 4242u, 0xdeadbeefu}) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto below = [&random](size_t limit) { return random() % limit; };

    ArrayBufferSink sink;
    std::string model;
    size_t unflushed = 0;
    bool stream = false;
    bool ended = false;
    const auto startOver = [&] {
      model.clear();
      unflushed = 0;
    };

    for (int step = 0; step < 2000; ++step) {
      CAPTURE(step);
      switch (below(64)) {
        case 0: {
          stream = below(2) == 0;
          sink.start({.stream = stream, .highWaterMark = below(2000)}).value();
          startOver();
          ended = false;
          break;
        }
        case 1: {
          const Flushed rest = sink.end();
          REQUIRE(rest.count() == unflushed);
          REQUIRE(textOf(rest) == model);
          startOver();
          ended = true;
          break;
        }
        case 2:
        case 3:
        case 4: {
          const Flushed flushed = sink.flush();
          REQUIRE(flushed.count() == std::exchange(unflushed, 0));
          REQUIRE(textOf(flushed) == (stream ? model : ""));
          if (stream) model.clear();
          break;
        }
        case 5: {
          ArrayBufferSink moved = std::move(sink);
          sink = std::move(moved);
          break;
        }
        default: {
          if (below(2) == 0) {
            const size_t count = below(300);
            sink.consume(count);
            model.erase(0, count);
            break;
          }
          std::string text(below(300), '\0');
          for (char& letter : text) letter = static_cast<char>(random());
          const Result<size_t> written = sink.write(text);
          REQUIRE(static_cast<bool>(written) == !ended);
          if (ended) break;
          REQUIRE(*written == text.size());
          model += text;
          unflushed += text.size();
        }
      }
      REQUIRE(sink.size() == model.size());
      REQUIRE(sink.empty() == model.empty());
      REQUIRE(textOf(sink) == model);
    }
  }
}
