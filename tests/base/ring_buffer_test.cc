#include "base/ring_buffer.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>

#include "support/aborts.h"
#include "support/catch.h"

using warren::asBytes;
using warren::asText;
using warren::Bytes;
using warren::base::RingBuffer;

namespace {

std::string contentOf(const RingBuffer& buffer) {
  const auto [first, second] = buffer.readable();
  return std::string(asText(first)) + std::string(asText(second));
}

// A buffer whose bytes wrap: `text` with its first half at the block's end.
RingBuffer wrapped(std::string_view text) {
  RingBuffer buffer;
  REQUIRE(buffer.append(asBytes(std::string(RingBuffer::kMinCapacity - text.size() / 2, '.'))));
  REQUIRE(buffer.append(asBytes(text.substr(0, text.size() / 2))));
  buffer.consume(RingBuffer::kMinCapacity - text.size() / 2);
  REQUIRE(buffer.append(asBytes(text.substr(text.size() / 2))));
  return buffer;
}

}  // namespace

TEST_CASE("a new ring buffer is empty and holds no memory", "[ring_buffer]") {
  RingBuffer buffer;
  CHECK(buffer.empty());
  CHECK(buffer.size() == 0);
  CHECK(buffer.capacity() == 0);
  CHECK(buffer.readable()[0].empty());
  CHECK(buffer.readable()[1].empty());
  buffer.consume(0);
  CHECK(buffer.append({}));
  CHECK(buffer.capacity() == 0);
}

TEST_CASE("bytes come out in the order they went in", "[ring_buffer]") {
  RingBuffer buffer;
  REQUIRE(buffer.append(asBytes("hello ")));
  REQUIRE(buffer.append(asBytes("world")));
  CHECK(contentOf(buffer) == "hello world");
  buffer.consume(6);
  CHECK(contentOf(buffer) == "world");
  CHECK(buffer.size() == 5);
}

TEST_CASE("bytes that wrap are readable as two spans", "[ring_buffer]") {
  const RingBuffer buffer = wrapped("abcdef");
  CHECK(asText(buffer.readable()[0]) == "abc");
  CHECK(asText(buffer.readable()[1]) == "def");
  CHECK(buffer.capacity() == RingBuffer::kMinCapacity);
}

TEST_CASE("an emptied ring buffer begins at its start again", "[ring_buffer]") {
  RingBuffer buffer;
  REQUIRE(buffer.append(asBytes(std::string(200, 'x'))));
  buffer.consume(200);
  REQUIRE(buffer.append(asBytes(std::string(200, 'y'))));
  CHECK(buffer.readable()[0].size() == 200);
  CHECK(buffer.readable()[1].empty());
}

TEST_CASE("capacity is a power of two and grows only when it must", "[ring_buffer]") {
  RingBuffer buffer;
  REQUIRE(buffer.append(asBytes("x")));
  CHECK(buffer.capacity() == RingBuffer::kMinCapacity);
  REQUIRE(buffer.append(asBytes(std::string(255, 'x'))));
  CHECK(buffer.capacity() == 256);
  REQUIRE(buffer.append(asBytes("x")));
  CHECK(buffer.capacity() == 512);
  REQUIRE(buffer.reserve(513));
  CHECK(buffer.capacity() == 1024);
  REQUIRE(buffer.reserve(3));
  CHECK(buffer.capacity() == 1024);
  CHECK(buffer.size() == 257);
}

TEST_CASE("wrapped bytes survive growing", "[ring_buffer]") {
  RingBuffer buffer = wrapped("abcdef");
  REQUIRE(buffer.reserve(4096));
  CHECK(buffer.capacity() == 4096);
  CHECK(contentOf(buffer) == "abcdef");
}

TEST_CASE("a size no memory can hold is answered with false, and nothing changes",
          "[ring_buffer]") {
  RingBuffer buffer;
  CHECK_FALSE(buffer.reserve(SIZE_MAX));
  CHECK(buffer.capacity() == 0);
  REQUIRE(buffer.append(asBytes("kept")));
  CHECK_FALSE(buffer.reserve(SIZE_MAX));
  CHECK_FALSE(buffer.reserve(SIZE_MAX / 2 + 1));
  CHECK_FALSE(buffer.reserve(SIZE_MAX / 2));
  const Bytes endless(buffer.readable()[0].data(), SIZE_MAX);  // refused before it is read
  CHECK_FALSE(buffer.append(endless));
  CHECK_FALSE(buffer.append(endless.first(SIZE_MAX - 3)));
  CHECK(buffer.capacity() == RingBuffer::kMinCapacity);
  CHECK(contentOf(buffer) == "kept");
}

TEST_CASE("a buffer can be appended to itself, also when it grows", "[ring_buffer]") {
  RingBuffer buffer;
  REQUIRE(buffer.append(asBytes("0123456789")));
  std::string expected = "0123456789";
  while (expected.size() < 5000) {
    REQUIRE(buffer.append(buffer.readable()[0]));
    expected += expected;
    REQUIRE(contentOf(buffer) == expected);
  }

  RingBuffer twice = wrapped("abcdef");
  const auto [first, second] = twice.readable();
  REQUIRE(twice.append(second));  // fits: the block stays, so `first` is still good
  REQUIRE(twice.append(first));
  CHECK(contentOf(twice) == "abcdefdefabc");
}

TEST_CASE("clear keeps the block and release gives it back", "[ring_buffer]") {
  RingBuffer buffer = wrapped("abcdef");
  buffer.clear();
  CHECK(buffer.empty());
  CHECK(buffer.capacity() == RingBuffer::kMinCapacity);
  buffer.release();
  CHECK(buffer.capacity() == 0);
  REQUIRE(buffer.append(asBytes("again")));
  CHECK(contentOf(buffer) == "again");
}

TEST_CASE("moving a ring buffer moves its bytes and leaves an empty one", "[ring_buffer]") {
  RingBuffer from = wrapped("abcdef");
  RingBuffer to(std::move(from));
  CHECK(contentOf(to) == "abcdef");
  CHECK(from.empty());
  CHECK(from.capacity() == 0);
  REQUIRE(from.append(asBytes("new")));
  to = std::move(from);
  CHECK(contentOf(to) == "new");
  RingBuffer& same = to;
  to = std::move(same);
  CHECK(contentOf(to) == "new");
}

TEST_CASE("consuming more than there is stops the program", "[ring_buffer]") {
  RingBuffer buffer;
  REQUIRE(buffer.append(asBytes("four")));
  const std::string message = warren::test::abortMessage([&] { buffer.consume(5); });
  CHECK(message.find("count <= size()") != std::string::npos);
}

TEST_CASE("a ring buffer does what a queue of bytes does", "[ring_buffer]") {
  const auto seed = GENERATE(range(1u, 21u));
  CAPTURE(seed);
  std::mt19937 random(seed);
  RingBuffer buffer;
  std::string model;
  for (int step = 0; step < 3000; ++step) {
    const auto choice = random() % 100;
    if (choice < 45) {
      std::string bytes(random() % (choice < 5 ? 700 : 90), '\0');
      for (char& byte : bytes) byte = static_cast<char>(random());
      REQUIRE(buffer.append(asBytes(bytes)));
      model += bytes;
    } else if (choice < 90) {
      const size_t count = random() % (std::min<size_t>(model.size(), 150) + 1);
      buffer.consume(count);
      model.erase(0, count);
    } else if (choice < 94 && model.size() < 5000) {
      const Bytes part = buffer.readable()[random() % 2];
      const Bytes own = part.subspan(random() % (part.size() + 1));
      model += asText(own);
      REQUIRE(buffer.append(own));
    } else if (choice < 96) {
      REQUIRE(buffer.reserve(random() % 3000));
    } else if (choice == 96) {
      buffer.release();
      model.clear();
    } else if (choice == 97) {
      buffer = RingBuffer(std::move(buffer));
    }
    REQUIRE(buffer.size() == model.size());
    REQUIRE(contentOf(buffer) == model);
  }
}
