#include "warren/result.h"

#include <netdb.h>

#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string>

#include "support/aborts.h"
#include "support/catch.h"

using warren::BadResult;
using warren::Error;
using warren::Origin;
using warren::Result;
using warren::Step;
using warren::stepName;
using warren::Usage;

namespace {

std::string kernelName(int code) { return Error(Origin::kernel, code, Step::none).name(); }
std::string resolverName(int code) { return Error(Origin::resolver, code, Step::none).name(); }

Error closed() { return {Usage::closed, Step::write, "the socket is closed"}; }

}  // namespace

TEST_CASE("a default error is no error and says nothing", "[result]") {
  const Error none;
  CHECK_FALSE(none);
  CHECK(none.origin() == Origin::none);
  CHECK(none.name() == "");
  CHECK(none.message() == "");
}

TEST_CASE("an error of the kernel says step, detail, name and meaning", "[result]") {
  const Error error(Origin::kernel, EACCES, Step::bind, "127.0.0.1:80");
  CHECK(error);
  CHECK(error.isErrno(EACCES));
  CHECK_FALSE(error.isErrno(EPERM));
  CHECK_FALSE(error.is(Usage::closed));
  CHECK(error.message() == "bind: 127.0.0.1:80: EACCES (Permission denied)");
}

TEST_CASE("parts that are missing leave no mark in the message", "[result]") {
  CHECK(Error(Origin::kernel, EACCES, Step::bind).message() == "bind: EACCES (Permission denied)");
  CHECK(Error(Origin::kernel, EACCES, Step::none).message() == "EACCES (Permission denied)");
  CHECK(Error(Origin::kernel, EACCES, Step::none, "file").message() ==
        "file: EACCES (Permission denied)");
}

TEST_CASE("errno numbers have their names", "[result]") {
  CHECK(kernelName(ECONNRESET) == "ECONNRESET");
  CHECK(kernelName(ECONNREFUSED) == "ECONNREFUSED");
  CHECK(kernelName(EPIPE) == "EPIPE");
  CHECK(kernelName(ETIMEDOUT) == "ETIMEDOUT");
  CHECK(kernelName(EADDRINUSE) == "EADDRINUSE");
  CHECK(kernelName(EMFILE) == "EMFILE");
  CHECK(kernelName(EAGAIN) == "EAGAIN");
  CHECK(kernelName(EOPNOTSUPP) == "EOPNOTSUPP");
}

TEST_CASE("numbers without a name are shown as numbers", "[result]") {
  CHECK(kernelName(98765) == "E98765");
  CHECK(kernelName(0) == "E0");
  CHECK(kernelName(-1) == "E-1");
  CHECK(resolverName(4321) == "EAI_4321");
  CHECK(Error(Origin::usage, 99, Step::none).name() == "E99");
  CHECK(Error(Origin::usage, 0, Step::none).name() == "E0");
  CHECK(Error(Origin::usage, -1, Step::none).name() == "E-1");
  CHECK(Error(Origin::tls, 42, Step::handshake).name() == "TLS_42");
  CHECK(Error(Origin::tls, 42, Step::handshake, "bad certificate").message() ==
        "handshake: bad certificate: TLS_42");
  CHECK(Error(Origin::kernel, 98765, Step::read).message().starts_with("read: E98765"));
}

TEST_CASE("an error of the resolver has the name and meaning of getaddrinfo", "[result]") {
  CHECK(resolverName(EAI_NONAME) == "EAI_NONAME");
  CHECK(resolverName(EAI_AGAIN) == "EAI_AGAIN");
  CHECK(resolverName(EAI_SYSTEM) == "EAI_SYSTEM");
  CHECK(Error(Origin::resolver, EAI_NONAME, Step::resolve, "no.such.host").message() ==
        std::string("resolve: no.such.host: EAI_NONAME (") + gai_strerror(EAI_NONAME) + ")");
}

TEST_CASE("an error of usage is told by its detail alone", "[result]") {
  const Error error(Usage::outOfRange, Step::options, "port 70000 is outside 0..65535");
  CHECK(error.is(Usage::outOfRange));
  CHECK_FALSE(error.is(Usage::invalid));
  CHECK_FALSE(error.isErrno(static_cast<int>(Usage::outOfRange)));
  CHECK(error.name() == "outOfRange");
  CHECK(error.message() == "options: port 70000 is outside 0..65535");
  CHECK(Error(Usage::unsupported, Step::signal, "").message() == "signal: unsupported");
  CHECK(Error(Usage::invalid, Step::none, "").name() == "invalid");
}

TEST_CASE("an error of a handler carries the exception", "[result]") {
  const auto exception = std::make_exception_ptr(std::runtime_error("boom"));
  const Error error = Error::thrown(exception, "boom");
  CHECK(error.origin() == Origin::handler);
  CHECK(error.step() == Step::handler);
  CHECK(error.message() == "handler: boom");
  CHECK(error.name() == "exception");
  CHECK_THROWS_AS(std::rethrow_exception(error.exception()), std::runtime_error);
  CHECK(Error::thrown(std::make_exception_ptr(5), "").message() == "handler: exception");
  CHECK(closed().exception() == nullptr);
}

TEST_CASE("every step has a name", "[result]") {
  CHECK(stepName(Step::none) == "");
  CHECK(stepName(Step::start) == "start");
  CHECK(stepName(Step::options) == "options");
  CHECK(stepName(Step::resolve) == "resolve");
  CHECK(stepName(Step::socket) == "socket");
  CHECK(stepName(Step::bind) == "bind");
  CHECK(stepName(Step::listen) == "listen");
  CHECK(stepName(Step::accept) == "accept");
  CHECK(stepName(Step::connect) == "connect");
  CHECK(stepName(Step::read) == "read");
  CHECK(stepName(Step::write) == "write");
  CHECK(stepName(Step::shutdown) == "shutdown");
  CHECK(stepName(Step::linger) == "linger");
  CHECK(stepName(Step::timeout) == "timeout");
  CHECK(stepName(Step::handshake) == "handshake");
  CHECK(stepName(Step::handler) == "handler");
  CHECK(stepName(Step::signal) == "signal");
}

TEST_CASE("a result is its value or its error", "[result]") {
  Result<std::string> good = std::string("value");
  REQUIRE(good);
  CHECK(*good == "value");
  CHECK(good->size() == 5);
  CHECK(good.value() == "value");
  CHECK_FALSE(good.error());

  const Result<std::string> bad = closed();
  REQUIRE_FALSE(bad);
  CHECK(bad.error().is(Usage::closed));

  const Result<void> done;
  CHECK(done);
  done.value();
  const Result<void> failed = closed();
  CHECK_FALSE(failed);
  CHECK(failed.error().step() == Step::write);
}

TEST_CASE("a result may hold what cannot be copied", "[result]") {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(3);
  const std::unique_ptr<int> number = std::move(result).value();
  CHECK(*number == 3);
}

#if WARREN_LIBRARY_EXCEPTIONS

TEST_CASE("asking for a value that is not there throws the error", "[result]") {
  Result<int> number = closed();
  CHECK_THROWS_AS(number.value(), BadResult);
  CHECK_THROWS_WITH(Result<int>(closed()).value(), "write: the socket is closed");
  try {
    Result<void>(closed()).value();
    FAIL("nothing was thrown");
  } catch (const BadResult& refusal) {
    CHECK(refusal.error().is(Usage::closed));
  }
}

#else

TEST_CASE("without exceptions, asking for a value that is not there stops the program",
          "[result]") {
  CHECK(warren::test::abortMessage([] { Result<int>(closed()).value(); }) ==
        "warren: write: the socket is closed\n");
}

#endif
